// A doubly linked list through the elements themselves: no memory of its own, O(1) everything.
// Not thread-safe. An element is on at most one list.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "base/check.hpp"

namespace mete {

// `Element` has public members `next` and `previous` of type Element*.
template <class Element>
class intrusive_list {
public:
  bool empty() const { return first_ == nullptr; }
  Element* first() const { return first_; }
  Element* last() const { return last_; }

  void push_front(Element* element) {
    element->previous = nullptr;
    element->next = first_;
    (first_ != nullptr ? first_->previous : last_) = element;
    first_ = element;
  }

  void push_back(Element* element) {
    element->next = nullptr;
    element->previous = last_;
    (last_ != nullptr ? last_->next : first_) = element;
    last_ = element;
  }

  // REQUIRES: `element` is on this list.
  void remove(Element* element) {
    METE_DEBUG_CHECK(element->previous != nullptr ? element->previous->next == element
                                                  : first_ == element);
    (element->previous != nullptr ? element->previous->next : first_) = element->next;
    (element->next != nullptr ? element->next->previous : last_) = element->previous;
  }

  Element* pop_front() {
    Element* element = first_;
    if (element != nullptr)
      remove(element);
    return element;
  }

private:
  Element* first_ = nullptr;
  Element* last_ = nullptr;
};

} // namespace mete
