// Reading profiles. The file may have been cut off, edited by hand or made to do harm: nothing is
// believed before it was checked, and memory is bounded by a look at the text alone.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>

#include "shadowattn/profile.h"

namespace shadowattn {
namespace {

using nlohmann::json;

constexpr size_t kDeepest = 8;             // root, layers, [i], kv_heads, [i], curves, [i], kept
constexpr size_t kMostValues = 4'000'000;  // bounds the memory of a parsed file
constexpr size_t kMostLayers = 4096;
constexpr size_t kMostHeads = 1024;
constexpr size_t kMostCurves = 64;
constexpr size_t kMostPoints = 256;  // of a curve, and scales of a grid
constexpr size_t kLongestText = 4096;
constexpr size_t kLongestQuote = 60;
constexpr double kMostTokens = 0x1p40;
constexpr double kLargestDim = 65536;
constexpr int32_t kMostRowsPerList = 64;

/// Printable ASCII on one line, cut to a length.
std::string quotable(std::string_view text, size_t longest) {
  std::string quoted;
  for (const char c : text.substr(0, longest)) quoted += c >= 0x20 && c < 0x7F ? c : '?';
  return quoted + (text.size() > longest ? "..." : "");
}

/// Where a value stands, as "layers[3].heads[1].keep". Lives on the stack, so that it costs nothing
/// where nothing is wrong.
class Place {
 public:
  Place() = default;
  Place(const Place& parent, std::string_view name) : parent_(&parent), name_(name) {}
  Place(const Place& parent, size_t index) : parent_(&parent), index_(index) {}

  std::string text() const {
    if (parent_ == nullptr) return "";
    std::string before = parent_->text();
    if (name_.empty()) return before + "[" + std::to_string(index_) + "]";
    return (before.empty() ? "" : before + ".") + std::string(name_);
  }

 private:
  const Place* parent_ = nullptr;
  std::string_view name_;
  size_t index_ = 0;
};

Status error_at(const Place& place, const std::string& what) {
  const std::string where = place.text();
  return Status::invalid_argument((where.empty() ? "the profile" : where) + " " + what);
}

Status must_be(const Place& place, const std::string& what, const json& found) {
  const std::string text = found.is_structured()
                               ? (found.is_object() ? "an object" : "an array")
                               : found.dump(-1, ' ', true, json::error_handler_t::replace);
  return error_at(place, "must be " + what + ", not " + quotable(text, kLongestQuote));
}

/// All of `required`, and beside these only `optional`.
Status check_keys(const json& value, const Place& place,
                  std::initializer_list<std::string_view> required,
                  std::initializer_list<std::string_view> optional = {}) {
  if (!value.is_object()) return must_be(place, "an object", value);
  for (const std::string_view key : required) {
    if (!value.contains(key)) return error_at(place, "lacks \"" + std::string(key) + "\"");
  }
  const auto among = [](std::string_view key, const auto& names) {
    return std::find(names.begin(), names.end(), key) != names.end();
  };
  for (const auto& [key, entry] : value.items()) {
    if (among(key, required) || among(key, optional)) continue;
    return error_at(place, "has an unknown entry \"" + quotable(key, kLongestQuote) + "\"");
  }
  return {};
}

Status check_array(const json& value, const Place& place, size_t longest) {
  if (!value.is_array()) return must_be(place, "an array", value);
  if (value.size() > longest) {
    return error_at(place, "has " + std::to_string(value.size()) + " entries; at most " +
                               std::to_string(longest) + " are allowed");
  }
  return {};
}

/// What a number may be, in words and as a test.
struct Range {
  const char* words;
  bool (*holds)(double value);
  bool whole = false;
};

constexpr Range kShare = {"in (0, 1]", [](double x) { return x > 0.0 && x <= 1.0; }};
constexpr Range kLoss = {"0 or more and below 1", [](double x) { return x >= 0.0 && x < 1.0; }};
constexpr Range kCurveLoss = {"in (0, 1)", [](double x) { return x > 0.0 && x < 1.0; }};
constexpr Range kNotNegative = {"0 or more", [](double x) { return x >= 0.0; }};
constexpr Range kCount = {"a whole number from 0 to 2^40",
                          [](double x) { return x >= 0.0 && x <= kMostTokens; }, true};
constexpr Range kParameters = {"a whole number from 0 to 2^53",
                               [](double x) { return x >= 0.0 && x <= 0x1p53; }, true};
constexpr Range kDim = {"a whole number from 0 to 65536",
                        [](double x) { return x >= 0.0 && x <= kLargestDim; }, true};
constexpr Range kRows = {"a whole number from 1 to 64",
                         [](double x) { return x >= 1.0 && x <= kMostRowsPerList; }, true};
constexpr Range kScale = {"a positive float",
                          [](double x) { return x >= 0x1p-126 && x <= 0x1p127; }};

Status read_number(const json& value, const Place& place, const Range& range, double& number) {
  // Comparisons are false for NaN; infinity passes one, so it is asked for by itself.
  const bool type_fits = range.whole ? value.is_number_integer() : value.is_number();
  if (type_fits) number = value.get<double>();
  if (!type_fits || !std::isfinite(number) || !range.holds(number)) {
    return must_be(place, range.words, value);
  }
  return {};
}

template <typename Number>
Status read_entry(const json& object, const char* key, const Place& place, const Range& range,
                  Number& number) {
  if (!object.contains(key)) return {};  // check_keys has looked for those that must be there
  double value = 0;
  Status s = read_number(object[key], Place(place, key), range, value);
  if (s.ok()) number = static_cast<Number>(value);
  return s;
}

Status read_entry(const json& object, const char* key, const Place& place, bool& flag) {
  if (!object[key].is_boolean()) return must_be(Place(place, key), "true or false", object[key]);
  flag = object[key].get<bool>();
  return {};
}

Status read_text(const json& object, const char* key, const Place& place, std::string& text) {
  if (!object.contains(key)) return {};
  const Place where(place, key);
  if (!object[key].is_string()) return must_be(where, "a text", object[key]);
  text = object[key].get<std::string>();
  if (text.size() <= kLongestText) return {};
  return error_at(where, "is longer than " + std::to_string(kLongestText) + " bytes");
}

template <typename Number>
Status read_numbers(const json& object, const char* key, const Place& place, const Range& range,
                    bool ascending, std::vector<Number>& numbers) {
  if (!object.contains(key)) return {};
  const Place where(place, key);
  Status s = check_array(object[key], where, kMostPoints);
  for (size_t i = 0; s.ok() && i < object[key].size(); ++i) {
    double value = 0;
    s = read_number(object[key][i], Place(where, i), range, value);
    const auto number = static_cast<Number>(value);
    if (s.ok() && ascending && i > 0 && number <= numbers.back()) {
      s = must_be(Place(where, i), "larger than the entry before it", object[key][i]);
    }
    numbers.push_back(number);
  }
  return s;
}

Status read_lists(const json& value, const Place& place, ListShape& lists) {
  Status s = check_keys(value, place, {"dense", "rows_per_list", "share_heads"});
  if (s.ok()) s = read_entry(value, "dense", place, lists.dense);
  if (s.ok()) s = read_entry(value, "rows_per_list", place, kRows, lists.rows_per_list);
  if (s.ok()) s = read_entry(value, "share_heads", place, lists.share_heads);
  return s;
}

Status read_curve(const json& value, const Place& place, KeptCurve& curve) {
  Status s = check_keys(value, place, {"lists", "keys", "nanoseconds", "attn_error", "kept"});
  if (s.ok()) s = read_lists(value["lists"], Place(place, "lists"), curve.lists);
  if (s.ok()) s = read_entry(value, "keys", place, kCount, curve.keys);
  if (s.ok()) s = read_entry(value, "nanoseconds", place, kNotNegative, curve.nanoseconds);
  if (s.ok()) s = read_numbers(value, "attn_error", place, kCurveLoss, true, curve.attn_error);
  if (s.ok()) s = read_numbers(value, "kept", place, kShare, false, curve.kept);
  if (s.ok() && curve.kept.size() != curve.attn_error.size()) {
    s = error_at(Place(place, "kept"), "has " + std::to_string(curve.kept.size()) +
                                           " entries, attn_error " +
                                           std::to_string(curve.attn_error.size()));
  }
  return s;
}

/// Reads every entry of an array by `read_one`.
template <typename Element>
Status read_all(const json& object, const char* key, const Place& place, size_t longest,
                Status (*read_one)(const json&, const Place&, Element&),
                std::vector<Element>& elements) {
  if (!object.contains(key)) return {};
  const Place where(place, key);
  Status s = check_array(object[key], where, longest);
  for (size_t i = 0; s.ok() && i < object[key].size(); ++i) {
    s = read_one(object[key][i], Place(where, i), elements.emplace_back());
  }
  return s;
}

Status read_head(const json& value, const Place& place, HeadProfile& head) {
  Status s = check_keys(value, place, {"keep"}, {"importance"});
  if (s.ok()) s = read_entry(value, "keep", place, kShare, head.keep);
  if (s.ok()) s = read_entry(value, "importance", place, kNotNegative, head.importance);
  return s;
}

Status read_kv_head(const json& value, const Place& place, KvHeadProfile& head) {
  Status s = check_keys(value, place, {"lists"}, {"curves"});
  if (s.ok()) s = read_lists(value["lists"], Place(place, "lists"), head.lists);
  if (s.ok()) s = read_all(value, "curves", place, kMostCurves, read_curve, head.curves);
  return s;
}

Status check_heads(const LayerProfile& layer, const Place& place) {
  const size_t heads = layer.heads.size();
  const size_t kv_heads = layer.kv_heads.size();
  if ((heads == 0) != (kv_heads == 0) || (kv_heads > 0 && heads % kv_heads != 0)) {
    return error_at(place, "has " + std::to_string(heads) + " heads and " +
                               std::to_string(kv_heads) + " KV heads, which do not fit");
  }
  if (heads > 0 && layer.head_dim == 0) {
    return error_at(Place(place, "head_dim"), "must be at least 1 where there are heads");
  }
  return {};
}

Status read_layer(const json& value, const Place& place, LayerProfile& layer) {
  Status s = check_keys(value, place, {"head_dim", "heads", "kv_heads"},
                        {"importance", "query_scales", "key_scales"});
  if (s.ok()) s = read_entry(value, "head_dim", place, kDim, layer.head_dim);
  if (s.ok()) s = read_entry(value, "importance", place, kNotNegative, layer.importance);
  if (s.ok()) s = read_all(value, "heads", place, kMostHeads, read_head, layer.heads);
  if (s.ok()) s = read_all(value, "kv_heads", place, kMostHeads, read_kv_head, layer.kv_heads);
  if (s.ok()) s = read_numbers(value, "query_scales", place, kScale, true, layer.query_scales);
  if (s.ok()) s = read_numbers(value, "key_scales", place, kScale, true, layer.key_scales);
  return s.ok() ? check_heads(layer, place) : s;
}

Status read_model(const json& value, const Place& place, ProfiledModel& model) {
  Status s = check_keys(value, place, {"architecture", "checksum", "parameters"});
  if (s.ok()) s = read_text(value, "architecture", place, model.architecture);
  if (s.ok()) s = read_text(value, "checksum", place, model.checksum);
  if (s.ok()) s = read_entry(value, "parameters", place, kParameters, model.parameters);
  return s;
}

/// Format and version come first: everything else may differ in another one.
Status check_format(const json& root) {
  if (!root.is_object()) return must_be(Place(), "an object", root);
  if (!root.contains("format") || root["format"] != "shadowattn-profile") {
    return error_at(Place(), R"(must have "format": "shadowattn-profile"; this is another file)");
  }
  if (!root.contains("version")) return error_at(Place(), "lacks \"version\"");
  if (root["version"].is_number_integer() && root["version"] == Profile::kVersion) return {};
  return must_be(Place(Place(), "version"), std::to_string(Profile::kVersion), root["version"]);
}

Result<Profile> read_root(const json& root) {
  Profile profile;
  const Place place;
  Status s = check_format(root);
  if (s.ok()) {
    s = check_keys(root, place, {"format", "version", "model", "attn_error", "layers"}, {"note"});
  }
  if (s.ok()) s = read_text(root, "note", place, profile.note);
  if (s.ok()) s = read_model(root["model"], Place(place, "model"), profile.model);
  if (s.ok()) s = read_entry(root, "attn_error", place, kLoss, profile.attn_error);
  if (s.ok()) s = read_all(root, "layers", place, kMostLayers, read_layer, profile.layers);
  if (!s.ok()) return s;
  return profile;
}

/// Depth and number of values, before memory is spent on them. Need not be exact where the text is
/// no JSON.
Status check_size(std::string_view text) {
  size_t depth = 0;
  size_t values = 1;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
      continue;
    }
    if (c == '"') quoted = true;
    if (c == '{' || c == '[') ++depth;
    if ((c == '}' || c == ']') && depth > 0) --depth;
    if (c == ',' || c == '{' || c == '[') ++values;
    if (depth > kDeepest) return error_at(Place(), "is nested too deeply");
    if (values > kMostValues) {
      return error_at(Place(), "has more than " + std::to_string(kMostValues) + " values");
    }
  }
  return {};
}

/// nlohmann's message without its own number, on one line.
std::string reason(const json::exception& error) {
  constexpr size_t kLongestReason = 200;
  const std::string_view text = error.what();
  const size_t bracket = text.find("] ");
  return quotable(bracket == std::string_view::npos ? text : text.substr(bracket + 2),
                  kLongestReason);
}

Result<json> parse_json(std::string_view text) {
  Status problem;
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto callback = [&](int, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(parsed).second && problem.ok()) {
      problem = error_at(Place(), "has \"" + quotable(parsed.get<std::string>(), kLongestQuote) +
                                      "\" twice in one object");
    }
    return true;
  };
  try {
    json parsed = json::parse(text, callback);
    if (!problem.ok()) return problem;
    return parsed;
  } catch (const json::exception& error) {
    return error_at(Place(), "is not JSON: " + reason(error));
  }
}

Result<std::string> read_file(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return Status::invalid_argument("there is no file");
  if (!std::filesystem::is_regular_file(path, error)) {
    return Status::invalid_argument("is no regular file");
  }
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             std::fclose);
  if (file == nullptr) return Status::invalid_argument("cannot be opened");
  std::string text;
  std::array<char, 1 << 16> part{};
  while (const size_t count = std::fread(part.data(), 1, part.size(), file.get())) {
    text.append(part.data(), count);
    if (text.size() > kLargestProfile) break;
  }
  if (std::ferror(file.get()) != 0) return Status::invalid_argument("cannot be read");
  return text;
}

}  // namespace

Result<Profile> parse_profile(std::string_view text) try {
  if (text.size() > kLargestProfile) {
    return error_at(Place(), "is longer than " + std::to_string(kLargestProfile) + " bytes");
  }
  if (Status s = check_size(text); !s.ok()) return s;
  const auto root = parse_json(text);
  if (!root.ok()) return root.status();
  return read_root(root.value());
} catch (const std::bad_alloc&) {
  return Status(StatusCode::kOutOfMemory, "out of memory");
}

Result<Profile> load_profile(const std::string& path) try {
  const auto text = read_file(path);
  if (!text.ok()) return Status(text.status().code(), path + ": " + text.status().message());
  auto profile = parse_profile(text.value());
  if (profile.ok()) return profile;
  return Status(profile.status().code(), path + ": " + profile.status().message());
} catch (const std::bad_alloc&) {
  return Status(StatusCode::kOutOfMemory, "out of memory");
}

}  // namespace shadowattn
