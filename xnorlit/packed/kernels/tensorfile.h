// An untrusted safetensors file in memory: the rules of xnorlit/packed/tensorfile.py.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace xnorlit {

struct Tensor {
  enum Type { kU8, kI8, kI32, kF32 };
  Type type;
  std::vector<int64_t> shape;
  std::span<const uint8_t> bytes;  // little-endian, of the file's memory, at any address

  int64_t count() const;
  // The values, aligned.
  template <typename Number>
  std::vector<Number> values() const {
    std::vector<Number> found(bytes.size() / sizeof(Number));
    if (!found.empty()) std::memcpy(found.data(), bytes.data(), found.size() * sizeof(Number));
    return found;
  }
};

using Tensors = std::map<std::string, Tensor, std::less<>>;

struct TensorFile {
  std::map<std::string, std::string> metadata;
  Tensors tensors;

  // Throws FileError; every length is checked against the file's before anything is read. Tensors refer to `file`.
  static TensorFile read(std::span<const uint8_t> file);
};

}  // namespace xnorlit
