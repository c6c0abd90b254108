// A doubly linked list whose links live inside the elements, so that taking any element out is O(1)
// and nothing is ever allocated. The list does not own its elements. Not thread-safe.
#pragma once

#include <cassert>

namespace dflockd::base {

/// The links of an element. An element has one `Links` for each list it can be in.
template <class T>
struct Links {
  T* previous = nullptr;
  T* next = nullptr;
};

/// A list of `T` linked through the member `kLinks`. An element must be in at most one list at a
/// time for each of its `Links`.
template <class T, Links<T> T::*kLinks>
class IntrusiveList {
 public:
  [[nodiscard]] bool empty() const { return first_ == nullptr; }
  /// The first element, or null.
  [[nodiscard]] T* front() const { return first_; }
  /// The element after `element`, or null.
  [[nodiscard]] static T* next(const T& element) { return (element.*kLinks).next; }

  /// The element before `element`, or null.
  [[nodiscard]] static T* previous(const T& element) { return (element.*kLinks).previous; }

  /// Appends an element that is in no list. O(1).
  void push_back(T& element) {
    Links<T>& links = element.*kLinks;
    assert(links.previous == nullptr && links.next == nullptr && first_ != &element);
    links.previous = last_;
    (last_ == nullptr ? first_ : (last_->*kLinks).next) = &element;
    last_ = &element;
  }

  /// Puts an element that is in no list before `next`, which is in this one. O(1).
  void insert_before(T& next, T& element) {
    Links<T>& links = element.*kLinks;
    links = {.previous = (next.*kLinks).previous, .next = &next};
    (links.previous == nullptr ? first_ : (links.previous->*kLinks).next) = &element;
    (next.*kLinks).previous = &element;
  }

  /// Takes out an element of this list. O(1).
  void remove(T& element) {
    Links<T>& links = element.*kLinks;
    assert(links.previous != nullptr || first_ == &element);
    assert(links.next != nullptr || last_ == &element);
    (links.previous == nullptr ? first_ : (links.previous->*kLinks).next) = links.next;
    (links.next == nullptr ? last_ : (links.next->*kLinks).previous) = links.previous;
    links = {};
  }

 private:
  T* first_ = nullptr;
  T* last_ = nullptr;
};

}  // namespace dflockd::base
