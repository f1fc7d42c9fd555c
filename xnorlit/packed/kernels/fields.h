// The values of a JSON object, by type and range.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "json.h"

namespace xnorlit {

class Fields {
 public:
  // `found` outlives this. `place`: of the object in the file, for messages, such as layers[3].
  Fields(const Json& found, std::string place);

  bool has(const std::string& name);  // and is not null
  const Json& take(const std::string& name);
  Fields object(const std::string& name);
  int integer(const std::string& name, int64_t least, int64_t most);
  int64_t long_integer(const std::string& name, int64_t least, int64_t most);
  std::vector<int> integers(const std::string& name, size_t fewest, size_t most_count, int64_t least, int64_t most);
  double number(const std::string& name, double least, double most);
  std::vector<double> numbers(const std::string& name, size_t count, double least, double most);
  // Some may be null.
  std::vector<std::optional<double>> optional_numbers(const std::string& name, size_t fewest, size_t most_count,
                                                      double least, double most);
  bool flag(const std::string& name);
  std::string text(const std::string& name);
  std::vector<std::string> texts(const std::string& name, size_t most);
  // The number of a choice among the known texts.
  int choice(const std::string& name, const std::vector<const char*>& known);
  // Refuses keys that nobody took: to ignore one could change the meaning of the file.
  void done() const;

  std::string at(const std::string& name) const { return place_.empty() ? name : place_ + "." + name; }
  const std::string& place() const { return place_; }

 private:
  const std::vector<Json>& list(const std::string& name, size_t least, size_t most);

  const Json* found_;
  std::set<std::string, std::less<>> known_;
  std::string place_;
};

// A value as it stands in the file, in short.
std::string shown(const Json& value);
// A number in short, such as 0.25.
std::string plain(double number);

}  // namespace xnorlit
