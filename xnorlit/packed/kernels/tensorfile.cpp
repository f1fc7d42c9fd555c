#include "tensorfile.h"

#include <algorithm>
#include <bit>
#include <string_view>
#include <utility>

#include "fields.h"

namespace xnorlit {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are little-endian in the file and in memory");

constexpr uint64_t kLargestHeader = 16 << 20;
constexpr size_t kMostDimensions = 5;  // planes of weights: plane, output, row, column, octet

struct Type {
  const char* name;
  const char* shown;
  int64_t bytes;
};
constexpr Type kTypes[] = {
    {"U8", "uint8", 1}, {"I8", "int8", 1}, {"I32", "int32", 4}, {"F32", "float32", 4}};  // by Tensor::Type

std::string named(const std::string& name) { return "tensor " + quoted(name); }

Json header_of(std::span<const uint8_t> file, size_t length) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, length);
  try {
    Json header = Json::parse(text);
    if (header.kind != Json::kObject) throw FileError("its header is not a JSON object");
    return header;
  } catch (const std::invalid_argument& error) {
    throw FileError(std::string("its header is not JSON (") + error.what() + ")");
  }
}

bool counts(const Json& found) {
  return found.kind == Json::kList && std::all_of(found.list().begin(), found.list().end(), [](const Json& each) {
           return each.kind == Json::kInteger && !each.huge && each.integer() >= 0;
         });
}

// Its bytes lie inside the tensors' part of the file, and match its shape.
std::pair<int64_t, int64_t> span_of(const std::string& name, const Json& entry, int64_t size, Tensor& tensor) {
  const auto refuse = [&](const std::string& what) { throw FileError(named(name) + ": " + what); };
  const Json::Object* fields = entry.kind == Json::kObject ? &entry.object() : nullptr;
  if (!fields || fields->size() != 3 || !fields->contains("dtype") || !fields->contains("shape") ||
      !fields->contains("data_offsets"))
    refuse("expected dtype, shape and data_offsets");
  const Json &dtype = fields->at("dtype"), &shape = fields->at("shape"), &offsets = fields->at("data_offsets");
  const auto known = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const Type& type) {
    return dtype.kind == Json::kText && dtype.text() == type.name;
  });
  if (known == std::end(kTypes)) refuse("dtype " + shown(dtype) + ", expected U8, I8, I32 or F32");
  tensor.type = static_cast<Tensor::Type>(known - std::begin(kTypes));
  if (!counts(shape) || !counts(offsets) || offsets.list().size() != 2 || shape.list().size() > kMostDimensions)
    refuse("shape or data_offsets are not lists of counts");
  // Beside a 0 the other extents could be anything.
  for (const Json& extent : shape.list())
    if (extent.integer() == 0) refuse("its shape " + shown(shape) + " holds no values");
  int64_t bytes = known->bytes;
  for (const Json& extent : shape.list()) {
    // Beyond the file's length it stays there: what follows only makes it larger.
    bytes = extent.integer() > size / bytes ? size + 1 : bytes * extent.integer();
    tensor.shape.push_back(extent.integer());
    if (bytes > size) break;
  }
  const int64_t first = offsets.list()[0].integer(), last = offsets.list()[1].integer();
  if (first > last || last > size || bytes > size || last - first != bytes)
    refuse(std::string(known->shown) + " of shape " + shown(shape) + " does not fill bytes " + std::to_string(first) +
           " to " + std::to_string(last) + " of " + std::to_string(size) + " bytes");
  return {first, last};
}

}  // namespace

std::string Tensor::described(Type type, const std::vector<int64_t>& shape) {
  std::string all = std::string(kTypes[type].shown) + " [";
  for (size_t i = 0; i < shape.size(); ++i) all += (i ? ", " : "") + std::to_string(shape[i]);
  return all + "]";
}

size_t TensorFile::header_bytes(std::span<const uint8_t> first, uint64_t size) {
  if (size < 8 || first.size() < 8) throw FileError(std::to_string(size) + " bytes are too few for a packed network");
  uint64_t length = 0;
  std::memcpy(&length, first.data(), 8);
  if (length > std::min<uint64_t>(size - 8, kLargestHeader))
    throw FileError("its header claims " + std::to_string(length) + " bytes, the file has " + std::to_string(size));
  return static_cast<size_t>(length);
}

std::string_view TensorFile::description() const {
  const auto found = metadata.find(kMetadata);
  if (found == metadata.end()) throw FileError(std::string("metadata ") + kMetadata + ": missing");
  return found->second;
}

TensorFile TensorFile::read(std::span<const uint8_t> file) {
  const size_t length = header_bytes(file, file.size());
  const Json header = header_of(file, length);
  TensorFile found;
  const auto data = file.subspan(8 + length);
  const auto size = static_cast<int64_t>(data.size());
  std::vector<std::pair<std::pair<int64_t, int64_t>, std::string>> spans;
  for (const auto& [name, entry] : header.object()) {
    if (name == "__metadata__") {
      if (entry.kind != Json::kObject) throw FileError("__metadata__ is not an object of strings");
      for (const auto& [key, value] : entry.object()) {
        if (value.kind != Json::kText) throw FileError("__metadata__ is not an object of strings");
        found.metadata.emplace(key, value.text());
      }
      continue;
    }
    Tensor tensor = {};
    const auto span = span_of(name, entry, size, tensor);
    tensor.bytes = data.subspan(static_cast<size_t>(span.first), static_cast<size_t>(span.second - span.first));
    spans.emplace_back(span, name);
    found.tensors.emplace(name, std::move(tensor));
  }
  std::sort(spans.begin(), spans.end());
  int64_t end = 0;
  for (const auto& [span, name] : spans) {
    if (span.first != end)
      throw FileError(named(name) + ": its bytes begin at " + std::to_string(span.first) + ", where " +
                      std::to_string(end) + " was expected");
    end = span.second;
  }
  if (end != size) throw FileError(std::to_string(size - end) + " bytes after the last tensor");
  return found;
}

}  // namespace xnorlit
