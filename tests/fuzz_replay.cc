// Runs a fuzz target without libFuzzer: its corpus, then a bounded number of seeded mutations of
// it, so that every test run exercises every parser of foreign bytes.
//
// usage: <target> CORPUS_DIR    (BULLA_TEST_SEED=n repeats a run)

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;
constexpr int kMutations = 20000;

std::vector<Input> ReadCorpus(const char* folder) {
  std::vector<Input> corpus = {{}};
  if (!std::filesystem::is_directory(folder)) return corpus;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return corpus;
}

void Mutate(Input& input, std::mt19937_64& random) {
  for (std::uint64_t edits = 1 + random() % 4; edits > 0; --edits) {
    std::size_t at = input.empty() ? 0 : random() % input.size();
    switch (random() % 4) {
      case 0:
        if (!input.empty()) input[at] = static_cast<std::uint8_t>(random());
        break;
      case 1:
        if (!input.empty()) input[at] ^= static_cast<std::uint8_t>(1u << (random() % 8));
        break;
      case 2:
        input.resize(at);
        break;
      default:
        input.insert(input.begin() + static_cast<std::ptrdiff_t>(at), 1 + random() % 8,
                     static_cast<std::uint8_t>(random()));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const char* seed_text = std::getenv("BULLA_TEST_SEED");
  std::uint64_t seed = seed_text ? std::strtoull(seed_text, nullptr, 10) : std::random_device{}();
  std::printf("BULLA_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  std::vector<Input> corpus = ReadCorpus(argc > 1 ? argv[1] : "");
  for (const Input& input : corpus) LLVMFuzzerTestOneInput(input.data(), input.size());
  std::mt19937_64 random(seed);
  for (int i = 0; i < kMutations; ++i) {
    Input input = corpus[random() % corpus.size()];
    Mutate(input, random);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%zu inputs and %d mutations of them\n", corpus.size(), kMutations);
  return 0;
}
