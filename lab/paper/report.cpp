#include "paper/report.h"

#include <algorithm>

#include "common/text.h"
#include "paper/published.h"

namespace shadowattn::tool::paper {
namespace {

// When the findings were made, and how to make them again.
std::string provenance(const ReportedExperiment& reported, const Findings& findings,
                       const Results& results, const std::string& command) {
  std::string first = findings.front().second.started;
  std::string last = first;
  double seconds = 0;
  for (const auto& [part, finding] : findings) {
    first = std::min(first, finding.started);
    last = std::max(last, finding.started);
    seconds += finding.seconds;
  }
  const std::string when = first == last ? first : first + " to " + last;
  return "Measured " + when + " in " + format_seconds(seconds) + " on " + results.facts().machine +
         ": " + command + " --only " + reported.experiment->id;
}

// Which parts are missing, and why.
std::string missing(const ReportedExperiment& reported, const Findings& findings) {
  std::string text;
  for (const Part& part : reported.parts) {
    if (find_part(findings, part.id) != nullptr) continue;
    const auto failure = reported.failures.find(part.id);
    const std::string why = failure == reported.failures.end() ? "not yet" : failure->second;
    text.append(text.empty() ? "Not measured: " : "; ").append(part.label + " (" + why + ")");
  }
  return text;
}

void add_chapter(const ReportedExperiment& reported, const Results& results,
                 const std::string& command, eval::Page* page) {
  const Experiment& experiment = *reported.experiment;
  eval::Section head;
  head.heading = experiment.title + " (" + experiment.source + ")";
  head.note = experiment.about;
  page->sections.push_back(std::move(head));
  const Findings findings = reported.findings(results);
  for (eval::Section& section : reported.chapter(findings).sections) {
    section.depth = 1;
    page->sections.push_back(std::move(section));
  }
  eval::Section end;
  end.depth = 1;
  end.note = missing(reported, findings);
  if (reported.parts.empty()) end.note = "Nothing of it can be measured with this model and text.";
  if (!findings.empty()) {
    end.note += (end.note.empty() ? "" : "\n") + provenance(reported, findings, results, command);
  }
  page->sections.push_back(std::move(end));
}

std::vector<std::string> facts_of(const Results& results, const std::string& command) {
  const RunFacts& facts = results.facts();
  std::vector<std::string> lines = {
      "Model: " + facts.model + " (" + facts.description + ", " + facts.model_checksum + ")",
      "Text: " + facts.texts, "Machine: " + facts.machine, "Version: " + facts.version,
      "Command: " + command};
  if (facts.quick) {
    lines.emplace_back(
        "Quick run: few short texts. Its figures show that everything works, no more.");
  }
  lines.emplace_back("Published figures: " + std::string(published::kPaper) +
                     ", measured there on phones with other models. Nothing here ran on a phone or "
                     "an NPU; npu-sim is a thread on a core of this machine.");
  return lines;
}

eval::Grid claims_grid(const Results& results, const std::vector<ReportedExperiment>& all) {
  eval::Grid grid;
  grid.header = {"what", "published", "source", "here", "remark"};
  grid.prose_columns = grid.header.size();
  for (const ReportedExperiment& reported : all) {
    for (const Claim& claim : reported.chapter(reported.findings(results)).claims) {
      grid.rows.push_back(
          {claim.what, claim.published, claim.source, claim.measured, claim.remark});
    }
  }
  return grid;
}

}  // namespace

Findings ReportedExperiment::findings(const Results& results) const {
  std::vector<std::string> ids;
  for (const Part& part : parts) ids.push_back(part.id);
  return results.findings(experiment->id, ids);
}

Chapter ReportedExperiment::chapter(const Findings& findings) const {
  if (findings.empty()) return {};
  try {
    return experiment->write(findings);
  } catch (const Json::exception&) {
    eval::Section complaint;
    complaint.note = "Its results in paper.json are damaged; --fresh measures everything again.";
    return {{}, {complaint}};
  }
}

std::string claims_text(const Results& results, const std::vector<ReportedExperiment>& all) {
  std::string text;
  for (const ReportedExperiment& reported : all) {
    const std::vector<Claim> claims = reported.chapter(reported.findings(results)).claims;
    if (!claims.empty()) text += "\n" + reported.experiment->title + "\n";
    for (const Claim& claim : claims) {
      const std::string source = claim.source.empty() ? "" : " (" + claim.source + ")";
      text += "  " + claim.what + "\n    published  " + claim.published + source +
              "\n    here       " + claim.measured + "\n";
      if (!claim.remark.empty()) text += "               " + claim.remark + "\n";
    }
  }
  return text;
}

eval::Page report_page(const Results& results, const std::vector<ReportedExperiment>& all,
                       const std::string& command) {
  eval::Page page;
  page.title = "shadowAttn's experiments, run again";
  page.facts = facts_of(results, command);
  page.contents = true;
  eval::Section claims;
  claims.heading = "Published and here";
  claims.note = "An empty remark: nothing measured here contradicts what was published.";
  claims.grid = claims_grid(results, all);
  page.sections.push_back(std::move(claims));
  for (const ReportedExperiment& reported : all) {
    add_chapter(reported, results, command, &page);
  }
  return page;
}

}  // namespace shadowattn::tool::paper
