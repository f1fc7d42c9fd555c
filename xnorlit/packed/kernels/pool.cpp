#include "pool.h"

#include <pthread.h>
#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <cstdint>
#include <system_error>
#include <thread>

namespace xnorlit {
namespace {

std::atomic<ThreadPool*> current{nullptr};

// Layers follow each other within microseconds, a wake-up costs tens of them: a worker looks around for that long, then
// sleeps. Between two calls of the engine nothing spins.
constexpr int kLooks = 2000;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

template <typename Condition>
bool soon(const Condition& condition) {
  for (int look = 0; look < kLooks; ++look) {
    if (condition()) return true;
    pause();
  }
  return false;
}

// The processor that this thread runs on; -1 where the system does not say.
int processor() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

// Moves this thread off a processor, if it may run on another one.
void leave(int processor) {
#if defined(__linux__)
  cpu_set_t allowed;
  if (processor < 0 || processor >= CPU_SETSIZE || sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  cpu_set_t others = allowed;
  CPU_CLR(processor, &others);
  if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof(others), &others) != 0) return;
  sched_setaffinity(0, sizeof(allowed), &allowed);
#else
  (void)processor;
#endif
}

}  // namespace

ThreadPool& ThreadPool::instance() {
  static const bool registered = [] {
    pthread_atfork(nullptr, nullptr, [] { current = nullptr; });
    return true;
  }();
  (void)registered;
  ThreadPool* pool = current.load();
  if (!pool) {
    // Never deleted: at exit workers may still sleep in it.
    auto* fresh = new ThreadPool();
    if (current.compare_exchange_strong(pool, fresh)) return *fresh;
    delete fresh;  // another thread was first; nobody has used this one
  }
  return *pool;
}

ThreadPool::Job::Job(const Body& body, int tasks, int threads)
    : body(&body),
      count(std::min({threads, tasks, kShares})),
      helpers_wanted(std::min(threads, tasks) - 1),
      processor(xnorlit::processor()) {
  for (int s = 0; s < count; ++s) {
    shares[s].next = static_cast<int>(int64_t{tasks} * s / count);
    shares[s].end = static_cast<int>(int64_t{tasks} * (s + 1) / count);
  }
}

bool ThreadPool::Job::done() const {
  for (int s = 0; s < count; ++s)
    if (shares[s].next < shares[s].end) return false;
  return true;
}

void ThreadPool::Job::work(int first_share) {
  for (int s = 0; s < count; ++s) {
    Share& share = shares[(first_share + s) % count];
    while (share.next < share.end) {
      const int task = share.next++;
      if (task < share.end) (*body)(task);
    }
  }
}

void ThreadPool::run(int tasks, int threads, const Body& body) {
  if (tasks <= 1 || threads <= 1) {
    for (int task = 0; task < tasks; ++task) body(task);
    return;
  }
  Job job(body, tasks, threads);
  {
    std::lock_guard lock(mutex_);
    spawn_up_to(job.helpers_wanted);
    jobs_.push_back(&job);
    ++arrivals_;
  }
  if (job.helpers_wanted == 1) {
    work_arrived_.notify_one();
  } else {
    work_arrived_.notify_all();
  }
  job.work(0);
  {
    std::lock_guard lock(mutex_);
    jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));  // from here on nobody joins
  }
  soon([&] { return job.helpers == 0; });
  // Under the lock even so: the last helper still holds it while it leaves.
  std::unique_lock lock(mutex_);
  helper_left_.wait(lock, [&] { return job.helpers == 0; });
}

ThreadPool::Job* ThreadPool::job_with_room() {
  for (Job* job : jobs_)
    if (job->helpers_wanted > 0 && !job->done()) return job;
  return nullptr;
}

void ThreadPool::help() {
  std::unique_lock lock(mutex_);
  bool moved = false;
  while (true) {
    Job* job = job_with_room();
    if (!job) {
      const unsigned seen = arrivals_;
      lock.unlock();
      const bool arrived = soon([&] { return arrivals_ != seen; });
      lock.lock();
      if (!arrived) work_arrived_.wait(lock, [&] { return job_with_room() != nullptr; });
      continue;
    }
    if (!moved && job->processor == processor()) {
      // On a busy machine a worker often wakes up on the caller's own processor, where it would only be in the way, for
      // as long as the system takes to notice. Nobody waits for it meanwhile: it has not joined.
      const int callers = job->processor;
      lock.unlock();
      leave(callers);
      lock.lock();
      moved = true;  // and if it may run nowhere else, it helps here
      continue;
    }
    moved = false;
    --job->helpers_wanted;
    ++job->helpers;
    const int share = ++job->joined;
    lock.unlock();
    job->work(share);
    lock.lock();
    if (--job->helpers == 0) helper_left_.notify_all();
  }
}

void ThreadPool::spawn_up_to(int workers) {
  for (; workers_ < workers; ++workers_) {
    try {
      std::thread([this] { help(); }).detach();
    } catch (const std::system_error&) {
      return;  // the system gives no more threads; the caller does the work with those that there are
    }
  }
}

}  // namespace xnorlit
