// The functions of control.h, as the registry hands them out.
#pragma once

#include <string_view>

namespace shadowattn::plugin {

/// The function of that name, to be cast to its type in control.h; null when there is none.
void* control_function(std::string_view name);

}  // namespace shadowattn::plugin
