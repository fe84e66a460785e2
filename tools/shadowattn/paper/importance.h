// Shares of tokens by importance, as the paper has them: by what the loss rises when a head's and
// when its whole layer's attention is removed.
#pragma once

#include <string>
#include <vector>

#include "paper/experiment.h"
#include "shadowattn/profile.h"

namespace shadowattn::tool::paper {

/// Attention of a model as all its layers have it.
struct HeadShape {
  int32_t dim = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
};

/// Losses of a model without heads.
struct Importance {
  double loss = 0;                         ///< with all of them, nats per token
  std::vector<double> layers;              ///< rise of the loss without the layer's attention
  std::vector<std::vector<double>> heads;  ///< [layer][query head] rise without the head
  int64_t tokens = 0;                      ///< that it was measured on
};

/// Reads the other half of the text (kld_part.h) once for every head and layer; fewer tokens for
/// models with many. Throws Failure, also on Ctrl-C.
Importance measure_importance(const Workbench& workbench, const HeadShape& shape);

/// Shares per KV head with the average `budget`: lists are per KV head, so what the query heads of
/// one are worth is their mean. Lists of every row for itself.
Profile share_profile(const Importance& importance, const HeadShape& shape, double budget);

/// A profile in a file of its own, which goes with this object: the plug-in reads files.
class ProfileFile {
 public:
  /// Throws Failure.
  explicit ProfileFile(const Profile& profile);
  ~ProfileFile();
  ProfileFile(const ProfileFile&) = delete;
  ProfileFile& operator=(const ProfileFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string folder_;
  std::string path_;
};

}  // namespace shadowattn::tool::paper
