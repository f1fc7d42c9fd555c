#include "json.h"

#include <locale.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace xnorlit {

template <typename Content>
struct Json::Holds final : Json::Inside {
  Content content;
};

template <typename Content>
const Content& Json::inside() const {
  static const Content empty;
  return inside_ ? static_cast<const Holds<Content>&>(*inside_).content : empty;
}

template <typename Content>
Content& Json::make() {
  auto held = std::make_unique<Holds<Content>>();
  Content& content = held->content;
  inside_ = std::move(held);
  return content;
}

const std::string& Json::text() const { return inside<std::string>(); }
const Json::List& Json::list() const { return inside<List>(); }
const Json::Object& Json::object() const { return inside<Object>(); }

namespace {

// Deeper than any document of ours; what is deeper is refused before it takes the stack.
constexpr int kDeepest = 64;

// Reals are written with a point, whatever the program's locale.
double real_of(const std::string& written) {
  static const locale_t plain = newlocale(LC_ALL_MASK, "C", nullptr);
  return strtod_l(written.c_str(), nullptr, plain);
}

}  // namespace

class Json::Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Json document() {
    check_utf8();
    Json found = value(0);
    blanks();
    if (at_ != text_.size()) fail("more behind its end");
    return found;
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    throw std::invalid_argument(std::string(what) + " at byte " + std::to_string(at_));
  }

  void check_utf8() {
    const auto follows = [&](size_t at) { return at < text_.size() && (byte(at) & 0xC0) == 0x80; };
    while (at_ < text_.size()) {
      const unsigned first = byte(at_);
      int more = 0;
      unsigned least = 0x80, most = 0xBF;  // of the second byte
      if (first >= 0xC2 && first <= 0xDF) more = 1;
      if (first >= 0xE0 && first <= 0xEF) more = 2;
      if (first >= 0xF0 && first <= 0xF4) more = 3;
      if (first == 0xE0) least = 0xA0;
      if (first == 0xED) most = 0x9F;
      if (first == 0xF0) least = 0x90;
      if (first == 0xF4) most = 0x8F;
      if (first >= 0x80 && more == 0) fail("no UTF-8");
      for (int i = 1; i <= more; ++i)
        if (!follows(at_ + i)) fail("no UTF-8");
      if (more && (byte(at_ + 1) < least || byte(at_ + 1) > most)) fail("no UTF-8");
      at_ += 1 + more;
    }
    at_ = 0;
  }

  unsigned byte(size_t at) const { return static_cast<unsigned char>(text_[at]); }
  bool ended() const { return at_ >= text_.size(); }
  char peek() const { return ended() ? '\0' : text_[at_]; }
  void blanks() {
    while (!ended() && (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r')) ++at_;
  }
  bool taken(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  bool taken(char one) { return taken(std::string_view(&one, 1)); }

  Json value(int depth) {
    if (depth > kDeepest) fail("nested too deeply");
    blanks();
    const size_t first = at_;
    Json found;
    switch (peek()) {
      case '{': object(found, depth); break;
      case '[': list(found, depth); break;
      case '"':
        found.kind = Json::kText;
        if (std::string text = string(); !text.empty()) found.make<std::string>() = std::move(text);
        break;
      default:
        if (taken("null")) break;
        if (taken("true") || taken("false")) {
          found.kind = Json::kFlag;
          found.flag = text_[first] == 't';
          break;
        }
        number(found);
    }
    found.written = text_.substr(first, at_ - first);
    return found;
  }

  void object(Json& found, int depth) {
    found.kind = Json::kObject;
    ++at_;
    blanks();
    if (taken('}')) return;
    Json::Object& object = found.make<Json::Object>();
    do {
      blanks();
      if (peek() != '"') fail("a name was expected");
      std::string name = string();
      blanks();
      if (!taken(':')) fail("a colon was expected");
      if (!object.emplace(std::move(name), value(depth + 1)).second) fail("an object has a duplicate name");
      blanks();
    } while (taken(','));
    if (!taken('}')) fail("a comma or the object's end was expected");
  }

  void list(Json& found, int depth) {
    found.kind = Json::kList;
    ++at_;
    blanks();
    if (taken(']')) return;
    Json::List& list = found.make<Json::List>();
    do {
      list.push_back(value(depth + 1));
      blanks();
    } while (taken(','));
    if (!taken(']')) fail("a comma or the list's end was expected");
  }

  int digits() {
    int count = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_) ++count;
    return count;
  }

  void number(Json& found) {
    const size_t first = at_;
    const bool below = taken('-');
    // As Python's json writes them; no field takes them.
    if (taken("Infinity") || (!below && taken("NaN"))) {
      found.kind = Json::kReal;
      found.number_.real = text_[at_ - 1] == 'N' ? NAN : below ? -INFINITY : INFINITY;
      return;
    }
    const bool zero = peek() == '0';
    const int whole = digits();
    if (whole == 0 || (zero && whole > 1)) {
      at_ = first;
      fail("a value was expected");
    }
    bool real = false;
    const auto part = [&] {
      real = true;
      if (digits() == 0) fail("a digit was expected");
    };
    if (taken('.')) part();
    if (taken('e') || taken('E')) {
      if (!taken('+')) taken('-');
      part();
    }
    const std::string written(text_.substr(first, at_ - first));
    found.kind = real ? Json::kReal : Json::kInteger;
    const bool negative = written[0] == '-';
    uint64_t size = 0;
    for (size_t i = negative; i < written.size() && !real && !found.huge; ++i) {
      const auto digit = static_cast<uint64_t>(written[i] - '0');
      found.huge = size > (static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) - digit) / 10;
      size = size * 10 + digit;
    }
    if (real || found.huge) {
      found.number_.real = real_of(written);
    } else {
      found.number_.integer = negative ? -static_cast<int64_t>(size) : static_cast<int64_t>(size);
    }
  }

  unsigned code() {
    unsigned found = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char digit = peek();
      found *= 16;
      if (digit >= '0' && digit <= '9') {
        found += digit - '0';
      } else if (digit >= 'a' && digit <= 'f') {
        found += digit - 'a' + 10;
      } else if (digit >= 'A' && digit <= 'F') {
        found += digit - 'A' + 10;
      } else {
        fail("four hexadecimal digits were expected");
      }
    }
    return found;
  }

  static void append(std::string& to, unsigned code) {
    const auto put = [&](unsigned byte) { to.push_back(static_cast<char>(byte)); };
    if (code < 0x80) return put(code);
    if (code < 0x800) {
      put(0xC0 | code >> 6);
    } else {
      if (code < 0x10000) {
        put(0xE0 | code >> 12);
      } else {
        put(0xF0 | code >> 18);
        put(0x80 | (code >> 12 & 0x3F));
      }
      put(0x80 | (code >> 6 & 0x3F));
    }
    put(0x80 | (code & 0x3F));
  }

  std::string string() {
    std::string found;
    ++at_;
    while (true) {
      if (ended()) fail("a text without end");
      const char here = text_[at_++];
      if (here == '"') return found;
      if (static_cast<unsigned char>(here) < 0x20) {
        --at_;
        fail("a control character in a text");
      }
      if (here != '\\') {
        found.push_back(here);
        continue;
      }
      const char escape = peek();
      ++at_;
      switch (escape) {
        case '"':
        case '\\':
        case '/': found.push_back(escape); break;
        case 'b': found.push_back('\b'); break;
        case 'f': found.push_back('\f'); break;
        case 'n': found.push_back('\n'); break;
        case 'r': found.push_back('\r'); break;
        case 't': found.push_back('\t'); break;
        case 'u': {
          unsigned first = code();
          if (first >= 0xD800 && first < 0xDC00 && text_.substr(at_, 2) == "\\u") {
            const size_t before = at_;
            at_ += 2;
            const unsigned second = code();
            if (second >= 0xDC00 && second < 0xE000) {
              first = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            } else {
              at_ = before;
            }
          }
          append(found, first);
          break;
        }
        default: --at_; fail("an escape that is none");
      }
    }
  }

  std::string_view text_;
  size_t at_ = 0;
};

std::string quoted(std::string_view text, size_t most) {
  const auto byte = [&](size_t at) { return static_cast<unsigned char>(text[at]); };
  std::string shown = "'";
  size_t at = 0;
  while (at < text.size() && shown.size() < most) {
    size_t length = 1;
    while (at + length < text.size() && (byte(at + length) & 0xC0) == 0x80) ++length;
    char escaped[8] = "";
    if (byte(at) == 0xED && length == 3 && byte(at + 1) >= 0xA0)
      snprintf(escaped, sizeof escaped, "\\u%04x", 0xD000u | (byte(at + 1) & 0x3Fu) << 6 | (byte(at + 2) & 0x3Fu));
    else if (byte(at) < 0x20 || byte(at) == 0x7F)
      snprintf(escaped, sizeof escaped, "\\x%02x", byte(at));
    if (*escaped) {
      shown += escaped;
    } else {
      shown += text.substr(at, length);
    }
    at += length;
  }
  return shown + (at < text.size() ? "...'" : "'");
}

Json Json::parse(std::string_view text) { return Parser(text).document(); }

}  // namespace xnorlit
