#pragma once

// For the tests of the store in SQLite: folders of their own, and the database's file.

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <future>
#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/await.h"
#include "store/sqlite/connection.h"
#include "store/sqlite/store.h"
#include "store/testing.h"

namespace bulla {

class TempDir {
 public:
  TempDir() {
    std::string pattern = std::filesystem::temp_directory_path() / "bulla-store-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() { std::filesystem::remove_all(path_); }
  std::string File() const { return In("bulla.db"); }
  std::string In(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// What a test waits for is given up after that.
inline constexpr auto kPatience = std::chrono::minutes(1);

// Holds the writer in a callback, so that writes gather behind it until Release.
class HeldWriter {
 public:
  explicit HeldWriter(KeyStore& store) {
    std::shared_future<void> released = release_.get_future().share();
    store.PutDek(NewDek(), [this, released](const absl::Status&) {
      held_.set_value();
      released.wait();
    });
    held_.get_future().wait();
  }
  void Release() { release_.set_value(); }

 private:
  std::promise<void> held_;
  std::promise<void> release_;
};

inline void WriteDatabase(const std::string& path, const char* sql) {
  std::fclose(std::fopen(path.c_str(), "w"));
  absl::StatusOr<SqliteConnection> connection = SqliteConnection::Open(path);
  ASSERT_TRUE(connection.ok()) << connection.status();
  ASSERT_EQ(connection->Execute(sql), absl::OkStatus());
}

inline std::int64_t OneInteger(const std::string& path, const char* sql) {
  SqliteConnection connection = SqliteConnection::Open(path).value();
  SqliteStatement statement = connection.Prepare(sql).value();
  SqliteRun run(statement);
  EXPECT_TRUE(run.Next().value());
  return run.IntegerAt(0);
}

}  // namespace bulla
