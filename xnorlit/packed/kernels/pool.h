// Threads that last, belong to nobody else, and sleep when there is nothing to do.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

namespace xnorlit {

// A reference to a callable, for the time of one call.
class Body {
 public:
  template <typename Callable>
  Body(const Callable& callable)  // NOLINT: implicit on purpose
      : object_(&callable), call_([](const void* o, int task) { (*static_cast<const Callable*>(o))(task); }) {}
  void operator()(int task) const { call_(object_, task); }

 private:
  const void* object_;
  void (*call_)(const void*, int);
};

// Neither OpenMP nor torch nor numba knows these threads, so their settings and their forks leave them alone. Several
// threads may call at once: each works on its own job, and idle workers help whichever has work left.
class ThreadPool {
 public:
  // The pool of this process. A forked child gets a new one: threads do not survive a fork.
  static ThreadPool& instance();

  // Runs body(0) .. body(tasks - 1), each once, on at most `threads` threads, the caller being one. The body must not
  // throw.
  void run(int tasks, int threads, const Body& body);

 private:
  // Tasks that follow each other; each thread begins with a share of its own, so that from call to call it finds in its
  // caches what it left there, and goes on with the others' shares when that is done.
  struct alignas(64) Share {
    std::atomic<int> next{0};
    int end = 0;
  };
  static constexpr int kShares = 16;

  struct Job {
    Job(const Body& body, int tasks, int threads);
    const Body* body;
    int count;  // of shares
    int helpers_wanted;
    int processor;  // of the caller
    int joined = 0;
    std::atomic<int> helpers{0};
    Share shares[kShares];
    bool done() const;
    void work(int first_share);
  };

  ThreadPool() { jobs_.reserve(64); }  // callers at once; beyond that it grows
  void help();
  Job* job_with_room();
  void spawn_up_to(int workers);

  std::mutex mutex_;
  std::condition_variable work_arrived_;
  std::condition_variable helper_left_;
  std::atomic<unsigned> arrivals_{0};
  std::vector<Job*> jobs_;
  int workers_ = 0;
};

}  // namespace xnorlit
