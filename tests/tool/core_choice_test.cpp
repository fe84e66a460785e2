// Which cores a benchmark takes for the CPU's work and for a simulated device.
#include "common/core_choice.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "common/failure.h"

namespace shadowattn::tool {
namespace {

const std::vector<int> kUsable = {2, 3, 7};

TEST(CoreChoice, TheDeviceGetsTheNextCore) {
  const CoreChoice choice = choose_cores(kUsable, 2, true, -1);
  EXPECT_EQ(choice.cpu, (std::vector<int>{2, 3}));
  EXPECT_EQ(choice.device, 7);
}

TEST(CoreChoice, TheDeviceMayGetAnotherOne) {
  EXPECT_EQ(choose_cores(kUsable, 1, true, 7).device, 7);
  // Whether the machine has it, the device will find out.
  EXPECT_EQ(choose_cores(kUsable, 3, true, 11).device, 11);
}

TEST(CoreChoice, WithoutASimulatedDeviceAllCoresMayBeTaken) {
  const CoreChoice choice = choose_cores(kUsable, 3, false, -1);
  EXPECT_EQ(choice.cpu, kUsable);
  EXPECT_EQ(choice.device, -1);
}

TEST(CoreChoice, TheDeviceNeverSharesACore) {
  EXPECT_THROW(choose_cores(kUsable, 3, true, -1), Failure);
  EXPECT_THROW(choose_cores(kUsable, 2, true, 3), Failure);
  EXPECT_THROW(choose_cores(kUsable, 4, false, -1), Failure);
  EXPECT_THROW(choose_cores({0}, 1, true, -1), Failure);
}

TEST(CoreChoice, TheSecondThreadOfACoreIsNoCore) {
  std::string name = (std::filesystem::temp_directory_path() / "cores-XXXXXX").string();
  const std::filesystem::path folder = mkdtemp(name.data());
  const char* siblings[] = {"0,4", "1-2", "1-2"};
  for (int core = 0; core < 3; ++core) {
    const auto topology = folder / ("cpu" + std::to_string(core)) / "topology";
    std::filesystem::create_directories(topology);
    std::ofstream(topology / "thread_siblings_list") << siblings[core] << "\n";
  }
  EXPECT_EQ(separate_cores({0, 1, 2, 3}, folder), (std::vector<int>{0, 1, 3}));
  EXPECT_EQ(separate_cores({2}, folder), std::vector<int>{2});
  std::filesystem::remove_all(folder);
  EXPECT_EQ(separate_cores({0, 1, 2}, folder), (std::vector<int>{0, 1, 2})) << "nothing is told";
}

TEST(CoreChoice, ThreadsStartedLaterStayOnTheCores) {
  std::thread([] {  // so that the other tests are not restricted
    const std::vector<int> usable = usable_cores();
    ASSERT_FALSE(usable.empty());
    restrict_to_cores({usable.back()});
    EXPECT_EQ(usable_cores(), std::vector<int>{usable.back()});
    std::vector<int> inherited;
    std::thread([&] { inherited = usable_cores(); }).join();
    EXPECT_EQ(inherited, std::vector<int>{usable.back()});
  })
      .join();
}

TEST(CoreChoice, NoCoreAtAllIsAnError) { EXPECT_THROW(restrict_to_cores({}), Failure); }

TEST(CoreChoice, WorkOnSomeCoresLeavesTheCallersAlone) {
  const std::vector<int> before = usable_cores();
  std::vector<int> meanwhile;
  std::vector<int> inherited;
  run_on_cores({before.back()}, [&] {
    meanwhile = usable_cores();
    std::thread([&] { inherited = usable_cores(); }).join();
  });
  EXPECT_EQ(meanwhile, std::vector<int>{before.back()});
  EXPECT_EQ(inherited, meanwhile);
  EXPECT_EQ(usable_cores(), before);
}

TEST(CoreChoice, WhatWorkOnSomeCoresThrowsArrives) {
  const std::vector<int> before = usable_cores();
  EXPECT_THROW(run_on_cores({before.front()}, [] { throw Failure("broken"); }), Failure);
  EXPECT_THROW(run_on_cores({}, [] {}), Failure);
  EXPECT_EQ(usable_cores(), before);
}

}  // namespace
}  // namespace shadowattn::tool
