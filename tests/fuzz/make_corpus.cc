// Writes the fuzzers' first inputs, made by the real encoders: make_corpus DIRECTORY, which gets
// one folder a fuzzer.

#include <cstdio>

#include "tests/fuzz/corpus.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_corpus DIRECTORY\n");
    return 2;
  }
  sheaf::fuzz::WriteWireInputs(argv[1]);
  sheaf::fuzz::WriteDiskInputs(argv[1]);
  sheaf::fuzz::WriteTextInputs(argv[1]);
  return 0;
}
