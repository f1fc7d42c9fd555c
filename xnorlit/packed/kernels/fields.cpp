#include "fields.h"

#include <cmath>

namespace xnorlit {
namespace {

// Whether a text can be encoded: JSON may hold lone surrogates.
bool writable(const Json& value) {
  if (value.kind != Json::kText) return false;
  const std::string& text = value.text();
  for (size_t i = 0; i + 1 < text.size(); ++i)
    if (text[i] == '\xED' && static_cast<unsigned char>(text[i + 1]) >= 0xA0) return false;
  return true;
}

[[noreturn]] void refuse(const std::string& place, const std::string& expected, const Json& found) {
  throw FileError(place + ": expected " + expected + ", found " + shown(found));
}

int64_t whole(const std::string& place, const Json& value, int64_t least, int64_t most) {
  if (value.kind != Json::kInteger || value.huge || value.integer() < least || value.integer() > most)
    refuse(place, "a whole number of " + std::to_string(least) + " to " + std::to_string(most), value);
  return value.integer();
}

double real(const std::string& place, const Json& value, double least, double most) {
  const bool is = value.kind == Json::kInteger || value.kind == Json::kReal;
  if (!is || !std::isfinite(value.real()) || value.real() < least || value.real() > most)
    refuse(place, "a number of " + plain(least) + " to " + plain(most), value);
  return value.real();
}

std::string numbered(const std::string& place, size_t i) { return place + "[" + std::to_string(i) + "]"; }

}  // namespace

std::string plain(double number) {
  char text[32];
  snprintf(text, sizeof text, "%g", number);
  return text;
}

std::string shown(const Json& value) {
  constexpr size_t kMost = 60;
  if (value.kind == Json::kText) return quoted(value.text(), kMost);
  if (value.written.size() <= kMost) return std::string(value.written);
  size_t end = kMost - 3;
  while (end > 0 && (static_cast<unsigned char>(value.written[end]) & 0xC0) == 0x80) --end;  // not inside a character
  return std::string(value.written.substr(0, end)) + "...";
}

Fields::Fields(const Json& found, std::string place) : found_(&found), place_(std::move(place)) {
  if (found.kind != Json::kObject)
    throw FileError(place_ + (place_.empty() ? "" : ": ") + "expected an object, found " + shown(found));
}

bool Fields::has(const std::string& name) {
  known_.insert(name);
  const auto found = found_->object().find(name);
  return found != found_->object().end() && found->second.kind != Json::kNull;
}

const Json& Fields::take(const std::string& name) {
  known_.insert(name);
  const auto found = found_->object().find(name);
  if (found == found_->object().end()) throw FileError(at(name) + ": missing");
  return found->second;
}

Fields Fields::object(const std::string& name) { return Fields(take(name), at(name)); }

int Fields::integer(const std::string& name, int64_t least, int64_t most) {
  return static_cast<int>(whole(at(name), take(name), least, most));
}

int64_t Fields::long_integer(const std::string& name, int64_t least, int64_t most) {
  return whole(at(name), take(name), least, most);
}

const std::vector<Json>& Fields::list(const std::string& name, size_t least, size_t most) {
  const Json& found = take(name);
  const std::string length = std::to_string(least) + (least == most ? "" : " to " + std::to_string(most));
  if (found.kind != Json::kList || found.list().size() < least || found.list().size() > most)
    refuse(at(name), "a list of " + length, found);
  return found.list();
}

std::vector<int> Fields::integers(const std::string& name, size_t fewest, size_t most_count, int64_t least,
                                  int64_t most) {
  std::vector<int> found;
  for (const Json& each : list(name, fewest, most_count))
    found.push_back(static_cast<int>(whole(numbered(at(name), found.size()), each, least, most)));
  return found;
}

double Fields::number(const std::string& name, double least, double most) {
  return real(at(name), take(name), least, most);
}

std::vector<double> Fields::numbers(const std::string& name, size_t count, double least, double most) {
  std::vector<double> found;
  for (const Json& each : list(name, count, count))
    found.push_back(real(numbered(at(name), found.size()), each, least, most));
  return found;
}

std::vector<std::optional<double>> Fields::optional_numbers(const std::string& name, size_t fewest, size_t most_count,
                                                            double least, double most) {
  std::vector<std::optional<double>> found;
  for (const Json& each : list(name, fewest, most_count)) {
    if (each.kind == Json::kNull) {
      found.emplace_back();
    } else {
      found.emplace_back(real(numbered(at(name), found.size()), each, least, most));
    }
  }
  return found;
}

bool Fields::flag(const std::string& name) {
  const Json& found = take(name);
  if (found.kind != Json::kFlag) refuse(at(name), "true or false", found);
  return found.flag;
}

std::string Fields::text(const std::string& name) {
  const Json& found = take(name);
  if (!writable(found)) refuse(at(name), "text", found);
  return found.text();
}

std::vector<std::string> Fields::texts(const std::string& name, size_t most) {
  std::vector<std::string> found;
  for (const Json& each : list(name, 1, most)) {
    if (!writable(each)) refuse(at(name), "a list of strings", take(name));
    found.push_back(each.text());
  }
  return found;
}

int Fields::choice(const std::string& name, const std::vector<const char*>& known) {
  const Json& found = take(name);
  std::string all;
  for (size_t i = 0; i < known.size(); ++i) {
    if (found.kind == Json::kText && found.text() == known[i]) return static_cast<int>(i);
    all += (i ? ", " : "") + std::string(known[i]);
  }
  refuse(at(name), "one of " + all, found);
}

void Fields::done() const {
  for (const auto& [name, value] : found_->object())
    if (!known_.contains(name))
      throw FileError((place_.empty() ? "" : place_ + ": ") + "unknown key " + quoted(name, 60));
}

}  // namespace xnorlit
