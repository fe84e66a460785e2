// What `shadowattn profile` has measured so far, on disk, so that it can go on after an
// interruption.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "shadowattn/profile.h"

namespace shadowattn::tool {

struct PartialProfile {
  std::string key;  ///< of model, text and options: results of others are not taken over
  Profile profile;
  std::set<int> layers;                  ///< whose lists are measured
  std::map<std::string, double> losses;  ///< by what was removed: "" (nothing), "3:1", "3:*"
};

std::string partial_json(const PartialProfile& partial);

/// nullopt when the text is damaged, of another key or of a model with another number of layers.
std::optional<PartialProfile> parse_partial(std::string_view text, const std::string& key,
                                            size_t layers);

/// Where the partial results of a profile are kept.
std::string partial_path(const std::string& output);

/// The same from a file; nullopt, too, when there is none.
std::optional<PartialProfile> load_partial(const std::string& path, const std::string& key,
                                           size_t layers);

}  // namespace shadowattn::tool
