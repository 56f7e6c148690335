#include "model/expression.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery {
namespace {

bool name_start(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_';
}
bool name_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.';
}

/// Recursive descent that evaluates as it reads; while `live_` is false it only reads.
class Parser {
 public:
  Parser(std::string_view text, const Lookup& lookup) : text_(text), lookup_(lookup) {}

  Json whole() {
    Json value = ternary();
    skip();
    if (at_ != text_.size()) fail(fmt::format("'{}' is not understood", text_.substr(at_)));
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    throw ConfigError(fmt::format("in the expression '{}': {}", text_, why));
  }
  void skip() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool take(std::string_view token) {
    skip();
    if (text_.substr(at_, token.size()) != token) return false;
    const bool word = name_start(token.front());
    if (word && at_ + token.size() < text_.size() && name_char(text_[at_ + token.size()])) return false;
    at_ += token.size();
    return true;
  }
  void expect(std::string_view token) {
    if (!take(token)) fail(fmt::format("expected '{}' at '{}'", token, text_.substr(at_)));
  }

  double number(const Json& value) const {
    if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
    if (!value.is_number()) fail(fmt::format("{} is not a number", value.dump()));
    return value.get<double>();
  }
  bool truth(const Json& value) const {
    if (value.is_null()) return false;
    return value.is_boolean() ? value.get<bool>() : number(value) != 0;
  }
  /// A whole result stays an integer, so that sizes are exact.
  static Json as_number(double value) {
    const bool whole = std::floor(value) == value && std::abs(value) < 9e15;
    return whole ? Json(static_cast<std::int64_t>(value)) : Json(value);
  }
  template <class Evaluate>
  Json if_live(bool live, const Evaluate& branch) {
    const bool before = std::exchange(live_, live_ && live);
    Json value = branch();
    live_ = before;
    return value;
  }

  Json ternary() {
    Json condition = either();
    if (!take("?")) return condition;
    const bool yes = live_ && truth(condition);
    Json first = if_live(yes, [&] { return ternary(); });
    expect(":");
    Json second = if_live(!yes, [&] { return ternary(); });
    return yes ? first : second;
  }
  Json either() {
    Json value = both();
    while (take("||")) {
      const bool known = live_ && truth(value);
      const Json other = if_live(!known, [&] { return both(); });
      if (live_) value = known || truth(other);
    }
    return value;
  }
  Json both() {
    Json value = comparison();
    while (take("&&")) {
      const bool open = live_ && truth(value);
      const Json other = if_live(open, [&] { return comparison(); });
      if (live_) value = open && truth(other);
    }
    return value;
  }
  Json comparison() {
    Json left = sum();
    for (const char* op : {"==", "!=", "<=", ">=", "<", ">", "in"}) {
      if (!take(op)) continue;
      const Json right = sum();
      return live_ ? compare(op, left, right) : Json();
    }
    return left;
  }
  Json compare(std::string_view op, const Json& left, const Json& right) const {
    if (op == "in") {
      if (!right.is_array()) fail(fmt::format("{} is not a list", right.dump()));
      return std::find(right.begin(), right.end(), left) != right.end();
    }
    if (op == "==") return left == right;
    if (op == "!=") return left != right;
    const double a = number(left), b = number(right);
    if (op == "<=") return a <= b;
    if (op == ">=") return a >= b;
    return op == "<" ? a < b : a > b;
  }
  Json sum() {
    Json value = product();
    while (true) {
      const bool plus = take("+");
      if (!plus && !take("-")) return value;
      const Json other = product();
      if (live_) value = as_number(number(value) + (plus ? number(other) : -number(other)));
    }
  }
  Json product() {
    Json value = unary();
    while (true) {
      const char* found = nullptr;
      for (const char* op : {"//", "*", "/", "%"}) {
        if (found == nullptr && take(op)) found = op;
      }
      if (found == nullptr) return value;
      const Json other = unary();
      if (live_) value = as_number(multiply(found, number(value), number(other)));
    }
  }
  double multiply(std::string_view op, double a, double b) const {
    if (op == "*") return a * b;
    if (b == 0) fail("division by zero");
    if (op == "/") return a / b;
    return op == "//" ? std::floor(a / b) : a - b * std::floor(a / b);
  }
  Json unary() {
    if (take("-")) {
      const Json value = unary();
      return live_ ? as_number(-number(value)) : Json();
    }
    skip();
    if (at_ + 1 < text_.size() && text_[at_] == '!' && text_[at_ + 1] != '=') {
      ++at_;
      const Json value = unary();
      return live_ ? Json(!truth(value)) : Json();
    }
    return indexed();
  }
  Json indexed() {
    Json value = primary();
    while (take("[")) {
      const Json index = ternary();
      expect("]");
      if (live_) value = element(value, index);
    }
    return value;
  }
  Json element(const Json& value, const Json& index) const {
    if (value.is_object() && index.is_string()) {
      const auto found = value.find(index.get_ref<const std::string&>());
      return found == value.end() ? Json() : *found;
    }
    const double i = number(index);
    const auto size = value.is_string() ? value.get_ref<const std::string&>().size() : value.size();
    if (!(value.is_array() || value.is_string()) || i < 0 || i >= static_cast<double>(size)) {
      fail(fmt::format("there is no element {} of {} entries", index.dump(), size));
    }
    const auto at = static_cast<std::size_t>(i);
    return value.is_string() ? Json(std::string(1, value.get_ref<const std::string&>()[at])) : value[at];
  }
  Json primary() {
    skip();
    if (take("(")) {
      Json value = ternary();
      expect(")");
      return value;
    }
    if (take("[")) return list("]");
    if (at_ >= text_.size()) fail("it ends too early");
    if (text_[at_] == '\'') return word();
    if (std::isdigit(static_cast<unsigned char>(text_[at_])) != 0) return literal();
    if (name_start(text_[at_])) return named();
    fail(fmt::format("'{}' is not understood", text_.substr(at_)));
  }
  Json list(std::string_view close) {
    Json values = Json::array();
    if (take(close)) return values;
    do values.push_back(ternary());
    while (take(","));
    expect(close);
    return values;
  }
  Json word() {
    const auto end = text_.find('\'', at_ + 1);
    if (end == std::string_view::npos) fail("a word without its closing quote");
    Json value = std::string(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }
  Json literal() {
    double value = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc()) fail("a number that cannot be read");
    at_ = static_cast<std::size_t>(end - text_.data());
    return as_number(value);
  }
  Json named() {
    const auto first = at_;
    while (at_ < text_.size() && name_char(text_[at_])) ++at_;
    const auto name = text_.substr(first, at_ - first);
    if (name == "true" || name == "false") return name == "true";
    if (name == "null") return {};
    if (take("(")) {
      const Json arguments = list(")");
      return live_ ? call(name, arguments) : Json();
    }
    return live_ ? lookup_(name) : Json();
  }
  Json call(std::string_view name, const Json& given) const {
    const auto argument = [&](std::size_t i) -> const Json& {
      if (i >= given.size()) fail(fmt::format("{} needs {} arguments", name, i + 1));
      return given[i];
    };
    if (name == "ceil") return as_number(std::ceil(number(argument(0))));
    if (name == "floor") return as_number(std::floor(number(argument(0))));
    if (name == "min") return as_number(std::min(number(argument(0)), number(argument(1))));
    if (name == "max") return as_number(std::max(number(argument(0)), number(argument(1))));
    if (name == "round_up") {
      return as_number(std::ceil(number(argument(0)) / number(argument(1))) * number(argument(1)));
    }
    const Json& whole = argument(0);
    if (name == "len") return whole.is_string() ? whole.get_ref<const std::string&>().size() : whole.size();
    if (!whole.is_array()) fail(fmt::format("{} of something that is no list, or no such function", name));
    if (name == "sum") {
      return as_number(std::accumulate(whole.begin(), whole.end(), 0.0,
                                       [&](double sum, const Json& v) { return sum + number(v); }));
    }
    if (name == "count") return std::count(whole.begin(), whole.end(), argument(1));
    fail(fmt::format("there is no function '{}'", name));
  }

  std::string_view text_;
  const Lookup& lookup_;
  std::size_t at_ = 0;
  bool live_ = true;
};

}  // namespace

Json evaluate(std::string_view expression, const Lookup& lookup) {
  return Parser(expression, lookup).whole();
}

bool is_name(std::string_view text) {
  return !text.empty() && name_start(text.front()) && std::all_of(text.begin(), text.end(), name_char);
}

}  // namespace orrery
