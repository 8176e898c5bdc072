#include "fuse/errno.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace sheaf::fuse {
namespace {

TEST(KernelErrnoTest, AnswersPosixForEveryCode) {
  EXPECT_EQ(KernelErrno(Status::Ok()), 0);
  EXPECT_EQ(KernelErrno({Code::kNotFound, ""}), ENOENT);
  EXPECT_EQ(KernelErrno({Code::kNoSpace, ""}), ENOSPC);
  EXPECT_EQ(KernelErrno({Code::kQuota, ""}), EDQUOT);
  EXPECT_EQ(KernelErrno({Code::kReadOnly, ""}), EROFS);
  EXPECT_EQ(KernelErrno({Code::kStale, ""}), ESTALE);
  EXPECT_EQ(KernelErrno({Code::kNotEmpty, ""}), ENOTEMPTY);
  EXPECT_EQ(KernelErrno({Code::kNoData, ""}), ENODATA);
}

TEST(KernelErrnoTest, SaysEioForADeadCluster) {
  EXPECT_EQ(KernelErrno({Code::kUnavailable, ""}), EIO);
  EXPECT_EQ(KernelErrno({Code::kDeadline, ""}), EIO);
  EXPECT_EQ(KernelErrno({Code::kNoSession, ""}), EIO);
}

TEST(KernelErrnoTest, NeverSaysEnosysNorAnErrnoTheKernelWouldDrop) {
#define X(name, number, err, grpc, retry)           \
  EXPECT_NE(KernelErrno({Code::name, ""}), ENOSYS); \
  EXPECT_GE(KernelErrno({Code::name, ""}), 0);      \
  EXPECT_LT(KernelErrno({Code::name, ""}), 512);
  SHEAF_STATUS_TABLE(X)
#undef X
}

TEST(KernelErrnoTest, TakesARenameOntoItselfAsDone) {
  EXPECT_EQ(KernelErrno({Code::kSameFile, ""}), 0);
}

TEST(IsFailureTest, TellsTheClustersFaultsFromTheCallers) {
  EXPECT_TRUE(IsFailure({Code::kIo, ""}));
  EXPECT_TRUE(IsFailure({Code::kCorrupt, ""}));
  EXPECT_TRUE(IsFailure({Code::kDeadline, ""}));
  EXPECT_FALSE(IsFailure({Code::kNotFound, ""}));
  EXPECT_FALSE(IsFailure({Code::kExists, ""}));
  EXPECT_FALSE(IsFailure({Code::kNoSpace, ""}));
}

}  // namespace
}  // namespace sheaf::fuse
