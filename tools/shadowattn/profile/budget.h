// Shares of tokens for the heads of a model whose average is given. Pure functions.
#pragma once

#include <span>
#include <vector>

#include "shadowattn/profile.h"

namespace shadowattn::tool {

/// importance = min(head · layer, kLargestImportance), both the increase of the loss in nats when
/// the head's or the whole layer's attention is removed; what lowers the loss has none.
inline constexpr double kLargestImportance = 1.0;
double head_importance(double head_loss_increase, double layer_loss_increase);

/// Shares proportional to importance with the average `budget`, none below `floor` or above 1: what
/// a limit takes or gives is shared out among the others in proportion. Equal shares where nothing
/// is important. 0 < floor <= budget <= 1; importances finite and not negative.
std::vector<double> shares_by_importance(std::span<const double> importances, double budget,
                                         double floor);

/// Shares that lose equal mass: each curve's kept share at one attn_error, the one with which the
/// average is `budget`; within floor and 1 as above. Curves must have points; between them, and
/// beyond their ends, shares go linearly with the logarithm of attn_error.
std::vector<double> shares_by_mass(std::span<const KeptCurve> curves, double budget, double floor);

}  // namespace shadowattn::tool
