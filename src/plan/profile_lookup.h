// The part of a profile that a call is about.
#pragma once

#include "shadowattn/attention.h"
#include "shadowattn/profile.h"

namespace shadowattn {

/// The profile of the call's layer; null when the layer is unknown or not in the profile, or when
/// heads or head dim are not those that were profiled. Reads shapes only. Valid as long as
/// `profile`.
const LayerProfile* find_layer(const Profile& profile, const AttentionCall& call);

}  // namespace shadowattn
