#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sheaf {

// One line of what an inspection shows: names and values in order, as text for a person or as one
// JSON object. Text that is not printable is shown as \xNN in the first and \u00NN in the second.
class Facts {
 public:
  Facts& Add(std::string_view name, std::string_view text);
  Facts& Add(std::string_view name, const char* text) { return Add(name, std::string_view(text)); }
  Facts& Add(std::string_view name, bool value) { return AddRaw(name, value ? "true" : "false"); }
  template <std::integral Number>
  Facts& Add(std::string_view name, Number value) {
    return AddRaw(name, std::to_string(value));
  }

  std::string Text() const;  // name=value name="value"
  std::string Json() const;  // {"name": value, "name": "value"}

 private:
  struct Fact {
    std::string name;
    std::string value;
    bool is_text = false;
  };
  Facts& AddRaw(std::string_view name, std::string value);

  std::vector<Fact> facts_;
};

using PrintFacts = std::function<void(const Facts&)>;

// "0011ff"
std::string Hex(std::string_view bytes);

}  // namespace sheaf
