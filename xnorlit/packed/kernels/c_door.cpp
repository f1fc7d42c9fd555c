// include/xnorlit.h: the engine for C.
#include <cstring>
#include <mutex>
#include <new>
#include <string>

#include "include/xnorlit.h"
#include "json.h"
#include "network.h"

struct xnorlit_network {
  xnorlit_network(std::span<const uint8_t> file, const std::string& isa, int threads)
      : network(file, isa), threads(threads) {
    network.prepare(threads);
  }

  xnorlit::Network network;
  int threads;
  std::mutex running;
};

namespace {

constexpr int kMostThreads = 64;

xnorlit_code said(xnorlit_error* error, xnorlit_code code, const char* message) {
  if (!error) return code;
  error->code = code;
  const size_t all = std::strlen(message);
  size_t at = 0;
  while (at < all) {
    size_t length = 1;  // of a whole character
    while (at + length < all && (static_cast<unsigned char>(message[at + length]) & 0xC0) == 0x80) ++length;
    if (at + length >= sizeof(error->message)) break;
    at += length;
  }
  std::memcpy(error->message, message, at);
  error->message[at] = '\0';
  return code;
}

// Whatever the body throws, as a code.
template <typename Body>
xnorlit_code guarded(xnorlit_error* error, const Body& body) noexcept {
  try {
    return body();
  } catch (const xnorlit::FileError& what) {
    return said(error, XNORLIT_BAD_FILE, what.what());
  } catch (const std::bad_alloc&) {
    return said(error, XNORLIT_OUT_OF_MEMORY, "the system gives no more memory");
  } catch (const std::length_error&) {
    return said(error, XNORLIT_OUT_OF_MEMORY, "the network takes more memory than this system can address");
  } catch (const std::invalid_argument& what) {  // of the engine's own checks, which stand behind the file's
    return said(error, XNORLIT_BAD_FILE, what.what());
  } catch (const std::exception& what) {
    return said(error, XNORLIT_UNEXPECTED, what.what());
  } catch (...) {
    return said(error, XNORLIT_UNEXPECTED, "an unknown fault");
  }
}

}  // namespace

extern "C" {

xnorlit_code xnorlit_load(const void* bytes, size_t size, const xnorlit_options* options, xnorlit_network** network,
                          xnorlit_error* error) {
  if (!network) return said(error, XNORLIT_BAD_ARGUMENT, "network: a null pointer");
  *network = nullptr;
  if (!bytes && size) return said(error, XNORLIT_BAD_ARGUMENT, "bytes: a null pointer");
  const int threads = options && options->threads ? options->threads : 1;
  if (threads < 1 || threads > kMostThreads)
    return said(error, XNORLIT_BAD_ARGUMENT, "options.threads: expected 1 to 64, or 0 for 1");
  return guarded(error, [&] {
    const std::string isa = options && options->isa ? options->isa : "";
    try {
      xnorlit::isa_named(isa);
    } catch (const std::invalid_argument& what) {
      return said(error, XNORLIT_BAD_ARGUMENT, what.what());
    }
    *network = new xnorlit_network({static_cast<const uint8_t*>(bytes), size}, isa, threads);
    return said(error, XNORLIT_OK, "");
  });
}

xnorlit_code xnorlit_run(xnorlit_network* network, const uint8_t* pixels, size_t pixel_count, float* logits,
                         size_t logit_count, xnorlit_error* error) {
  if (!network || !pixels || !logits) return said(error, XNORLIT_BAD_ARGUMENT, "a null pointer");
  if (pixel_count != xnorlit_pixel_count(network))
    return said(error, XNORLIT_BAD_ARGUMENT, "pixel_count: not xnorlit_pixel_count(network)");
  if (logit_count != xnorlit_class_count(network))
    return said(error, XNORLIT_BAD_ARGUMENT, "logit_count: not xnorlit_class_count(network)");
  return guarded(error, [&] {
    std::lock_guard lock(network->running);
    network->network.run(pixels, logits, 1, network->threads);
    return said(error, XNORLIT_OK, "");
  });
}

void xnorlit_free(xnorlit_network* network) { delete network; }

size_t xnorlit_image_size(const xnorlit_network* network) {
  return network ? static_cast<size_t>(network->network.document().image_size) : 0;
}

size_t xnorlit_pixel_count(const xnorlit_network* network) {
  return network ? static_cast<size_t>(network->network.document().input().values()) : 0;
}

size_t xnorlit_class_count(const xnorlit_network* network) {
  return network ? network->network.document().classes.size() : 0;
}

const char* xnorlit_class_name(const xnorlit_network* network, size_t index) {
  return index < xnorlit_class_count(network) ? network->network.document().classes[index].c_str() : nullptr;
}

const char* xnorlit_network_name(const xnorlit_network* network) {
  return network ? network->network.document().network.c_str() : nullptr;
}

const char* xnorlit_isa(const xnorlit_network* network) {
  return network ? network->network.engine().isa().name : nullptr;
}

double xnorlit_crop(const xnorlit_network* network) { return network ? network->network.document().crop : 0; }

int xnorlit_squash(const xnorlit_network* network) { return network && network->network.document().squash; }

size_t xnorlit_resident_bytes(const xnorlit_network* network) {
  return network ? static_cast<size_t>(network->network.engine().resident_bytes()) : 0;
}

size_t xnorlit_arena_bytes(const xnorlit_network* network) {
  return network ? static_cast<size_t>(network->network.engine().arena_bytes()) : 0;
}

}  // extern "C"
