// The processor's energy counters, as Linux shows them in a folder.
#include "measure/energy_counter.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "common/failure.h"

namespace shadowattn::tool {
namespace {

namespace fs = std::filesystem;

/// A folder like /sys/class/powercap, gone at the end.
class PowercapFolder {
 public:
  PowercapFolder() {
    std::string name = (fs::temp_directory_path() / "powercap-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~PowercapFolder() { fs::remove_all(path_); }

  const fs::path& path() const { return path_; }
  void add(const std::string& zone, const std::string& name, const std::string& microjoules,
           const std::string& range = "262143328850") const {
    fs::create_directory(path_ / zone);
    write(zone, "name", name);
    write(zone, "max_energy_range_uj", range);
    write(zone, "energy_uj", microjoules);
  }
  void write(const std::string& zone, const std::string& file, const std::string& text) const {
    std::ofstream(path_ / zone / file) << text << "\n";
  }

 private:
  fs::path path_;
};

TEST(EnergyCounter, CountsWhatAPackageUsed) {
  const PowercapFolder folder;
  folder.add("intel-rapl:0", "package-0", "1000000");
  const EnergyCounter counter(folder.path());
  ASSERT_TRUE(counter.available()) << counter.missing();
  EXPECT_EQ(counter.packages(), std::vector<std::string>{"package-0"});
  const EnergyReading before = counter.read();
  folder.write("intel-rapl:0", "energy_uj", "3500000");
  EXPECT_DOUBLE_EQ(counter.joules(before, counter.read()), 2.5);
  EXPECT_DOUBLE_EQ(counter.joules(before, before), 0);
}

TEST(EnergyCounter, ACounterThatStartedAgainIsNoLoss) {
  const PowercapFolder folder;
  folder.add("intel-rapl:0", "package-0", "9000000", "10000000");
  const EnergyCounter counter(folder.path());
  const EnergyReading before = counter.read();
  folder.write("intel-rapl:0", "energy_uj", "500000");
  EXPECT_DOUBLE_EQ(counter.joules(before, counter.read()), 1.5);
}

TEST(EnergyCounter, SumsPackagesAndLeavesOutTheirPartsAndWhatCountsThemAgain) {
  const PowercapFolder folder;
  folder.add("intel-rapl:0", "package-0", "0");
  folder.add("intel-rapl:0:0", "core", "0");
  folder.add("intel-rapl:1", "package-1", "0");
  folder.add("intel-rapl:2", "psys", "0");
  folder.add("intel-rapl-mmio:0", "package-0", "0");
  folder.add("dtpm", "package-9", "0");
  const EnergyCounter counter(folder.path());
  EXPECT_EQ(counter.packages(), (std::vector<std::string>{"package-0", "package-1"}));
  const EnergyReading before = counter.read();
  for (const char* zone : {"intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1", "intel-rapl:2",
                           "intel-rapl-mmio:0", "dtpm"}) {
    folder.write(zone, "energy_uj", "1000000");
  }
  EXPECT_DOUBLE_EQ(counter.joules(before, counter.read()), 2);
}

TEST(EnergyCounter, SaysThatThereIsNone) {
  const PowercapFolder folder;
  for (const fs::path& path : {folder.path(), folder.path() / "missing"}) {
    const EnergyCounter counter(path);
    EXPECT_FALSE(counter.available());
    EXPECT_NE(counter.missing().find("shows no energy counter"), std::string::npos);
    EXPECT_NE(counter.missing().find(path.string()), std::string::npos);
    EXPECT_TRUE(counter.packages().empty());
  }
}

TEST(EnergyCounter, SaysWhichFileCannotBeRead) {
  const PowercapFolder folder;
  folder.add("intel-rapl:0", "package-0", "0");
  folder.add("intel-rapl:1", "package-1", "0");
  const fs::path file = folder.path() / "intel-rapl:1" / "energy_uj";
  fs::remove(file);
  const EnergyCounter gone(folder.path());
  EXPECT_FALSE(gone.available());
  EXPECT_TRUE(gone.packages().empty()) << "half of the machine is not the machine";
  EXPECT_NE(gone.missing().find(file.string() + " cannot be read: No such file"), std::string::npos)
      << gone.missing();

  folder.write("intel-rapl:1", "energy_uj", "not a number");
  EXPECT_FALSE(EnergyCounter(folder.path()).available());

  if (geteuid() == 0) return;  // may read everything
  fs::permissions(file, fs::perms::none);
  EXPECT_NE(EnergyCounter(folder.path()).missing().find("only root may"), std::string::npos);
}

TEST(EnergyCounter, ACounterThatVanishesIsAnError) {
  const PowercapFolder folder;
  folder.add("intel-rapl:0", "package-0", "0");
  const EnergyCounter counter(folder.path());
  ASSERT_TRUE(counter.available());
  fs::remove(folder.path() / "intel-rapl:0" / "energy_uj");
  EXPECT_THROW(counter.read(), Failure);
}

}  // namespace
}  // namespace shadowattn::tool
