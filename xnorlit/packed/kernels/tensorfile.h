// An untrusted safetensors file in memory: 8 bytes, the header's length; the header, a JSON object of
// {name: {dtype, shape, data_offsets}} and __metadata__; the bytes of the tensors at their offsets, without gaps or
// overlaps. Source: github.com/huggingface/safetensors, "Format".
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace xnorlit {

// The name of the network's JSON among the metadata of a file.
constexpr const char* kMetadata = "xnorlit.packed";

struct Tensor {
  enum Type { kU8, kI8, kI32, kF32 };
  Type type;
  std::vector<int64_t> shape;
  std::span<const uint8_t> bytes;  // little-endian, of the file's memory, at any address

  // Such as float32 [5, 8].
  static std::string described(Type type, const std::vector<int64_t>& shape);
  // The values, aligned.
  template <typename Number>
  std::vector<Number> values() const {
    std::vector<Number> found(bytes.size() / sizeof(Number));
    if (!found.empty()) std::memcpy(found.data(), bytes.data(), found.size() * sizeof(Number));
    return found;
  }
};

// The values of a tensor: those in the file's memory if they are aligned there, else a copy.
template <typename Number>
class Aligned {
 public:
  explicit Aligned(const Tensor& tensor) {
    if (reinterpret_cast<uintptr_t>(tensor.bytes.data()) % alignof(Number) == 0) {
      values_ = {reinterpret_cast<const Number*>(tensor.bytes.data()), tensor.bytes.size() / sizeof(Number)};
    } else {
      copy_ = tensor.values<Number>();
      values_ = copy_;
    }
  }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;

  std::span<const Number> values() const { return values_; }

 private:
  std::vector<Number> copy_;
  std::span<const Number> values_;
};

using Tensors = std::map<std::string, Tensor, std::less<>>;

struct TensorFile {
  std::map<std::string, std::string> metadata;
  Tensors tensors;

  // The JSON of the network among the metadata.
  std::string_view description() const;

  // The length of the header of a file of `size` bytes, from its first 8. Throws FileError.
  static size_t header_bytes(std::span<const uint8_t> first, uint64_t size);
  // Throws FileError; every length is checked against the file's before anything is read. Tensors refer to `file`.
  static TensorFile read(std::span<const uint8_t> file);
};

}  // namespace xnorlit
