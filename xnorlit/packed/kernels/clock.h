// How long a part of a call takes, for the profile.
#pragma once

#include <chrono>

namespace xnorlit {

// Adds the seconds of its life to a sum; asks no clock where there is none.
class Clock {
 public:
  explicit Clock(double* seconds) : seconds_(seconds) {
    if (seconds_) start_ = Steady::now();
  }
  ~Clock() {
    if (seconds_) *seconds_ += std::chrono::duration<double>(Steady::now() - start_).count();
  }
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;

 private:
  using Steady = std::chrono::steady_clock;
  double* seconds_;
  Steady::time_point start_;
};

}  // namespace xnorlit
