// A JSON document, read as RFC 8259 says: in UTF-8, without a name twice in an object.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace xnorlit {

// What a file holds is not what it should be; the message begins with the place.
class FileError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Json {
  enum Kind : uint8_t { kNull, kFlag, kInteger, kReal, kText, kList, kObject };
  using Object = std::map<std::string, Json, std::less<>>;

  Kind kind = kNull;
  bool flag = false;
  bool huge = false;         // an integer of more than 64 bits
  std::string_view written;  // as it stands in the text, which has to outlive this
  int64_t integer = 0;
  double real = 0;
  std::string text;  // in UTF-8, but for a lone surrogate, which JSON may hold
  std::vector<Json> list;
  std::unique_ptr<Object> object;

  // Throws std::invalid_argument that says what is wrong and at which byte.
  static Json parse(std::string_view text);
};

}  // namespace xnorlit
