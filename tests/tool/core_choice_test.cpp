// Which cores a benchmark takes for the CPU's work and for a simulated device.
#include "core_choice.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

#include "failure.h"

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
