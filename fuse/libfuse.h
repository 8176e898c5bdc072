#pragma once

// libfuse's low-level interface, at the version this code is written to. Include this, never
// <fuse_lowlevel.h>: the version must be the same in every source.
#define FUSE_USE_VERSION 314

#include <fuse_lowlevel.h>
