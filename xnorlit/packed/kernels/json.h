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

// A text as a message shows it, in quotes: in UTF-8 without control characters, and not all of a long one. Half a
// character, which JSON may hold, stands as \ud83d.
std::string quoted(std::string_view text, size_t most = 200);

// A value takes 40 bytes beside its text, list or object: a file of commas must not take all memory.
class Json {
 public:
  enum Kind : uint8_t { kNull, kFlag, kInteger, kReal, kText, kList, kObject };
  using List = std::vector<Json>;
  using Object = std::map<std::string, Json, std::less<>>;

  // Throws std::invalid_argument that says what is wrong and at which byte.
  static Json parse(std::string_view text);

  Kind kind = kNull;
  bool flag = false;
  bool huge = false;                // an integer of more than 63 bits, of which only `real` is kept
  std::string_view written;         // as it stands in the text, which has to outlive this
  const std::string& text() const;  // in UTF-8, but for half a character
  const List& list() const;
  const Object& object() const;
  int64_t integer() const { return number_.integer; }
  double real() const { return kind == kInteger && !huge ? static_cast<double>(number_.integer) : number_.real; }

 private:
  class Parser;
  struct Inside {
    virtual ~Inside() = default;
  };
  template <typename Content>
  struct Holds;
  template <typename Content>
  const Content& inside() const;
  template <typename Content>
  Content& make();

  union {
    int64_t integer;
    double real;
  } number_ = {0};
  std::unique_ptr<Inside> inside_;  // none for an empty text, list or object
};

}  // namespace xnorlit
