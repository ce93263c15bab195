// SPDX-License-Identifier: MIT
// The binary-trees program of the Computer Language Benchmarks Game (after H. Boehm's GCBench): one
// long-lived tree, and many short-lived ones of all depths, each node a block of its own.

#include "support.hpp"

#include <new>

namespace {

struct node {
  node* left = nullptr;
  node* right = nullptr;
};

node* grow(unsigned depth) {
  node* root = new node;
  if (depth > 0) {
    root->left = grow(depth - 1);
    root->right = grow(depth - 1);
  }
  return root;
}

std::uint64_t count(const node* root) {
  return root == nullptr ? 0 : 1 + count(root->left) + count(root->right);
}

void fell(node* root) {
  if (root != nullptr) {
    fell(root->left);
    fell(root->right);
    delete root;
  }
}

} // namespace

int main(int argc, char** argv) {
  bench::arguments arguments(argc, argv);
  const auto deepest = static_cast<unsigned>(arguments.number("--depth", 18, 16));
  arguments.finish();
  bench::check(deepest >= 4 && deepest <= 28, "--depth takes 4 to 28");

  node* long_lived = grow(deepest);
  for (unsigned depth = 4; depth <= deepest; depth += 2) {
    const std::uint64_t trees = std::uint64_t{1} << (deepest - depth + 4);
    std::uint64_t nodes = 0;
    for (std::uint64_t i = 0; i < trees; ++i) {
      node* tree = grow(depth);
      nodes += count(tree);
      fell(tree);
    }
    bench::check(nodes == trees * ((2u << depth) - 1), "a tree has the wrong number of nodes");
  }
  bench::check(count(long_lived) == (2u << deepest) - 1, "the long-lived tree lost nodes");
  fell(long_lived);
  return 0;
}
