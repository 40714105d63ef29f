/* SPDX-License-Identifier: MIT */
/*
 * sanitizer.h - which sanitizer this build runs under, by either compiler.
 *   A program or a test leaves something out only through these names, and says why where it does.
 */
#ifndef STRESS_SANITIZER_H
#define STRESS_SANITIZER_H

#if defined(__has_feature)
#define SANITIZER_FEATURE_(name) __has_feature(name)
#else
#define SANITIZER_FEATURE_(name) 0
#endif

#if defined(__SANITIZE_THREAD__) || SANITIZER_FEATURE_(thread_sanitizer)
#define UNDER_TSAN 1
#else
#define UNDER_TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__) || SANITIZER_FEATURE_(address_sanitizer)
#define UNDER_ASAN 1
#else
#define UNDER_ASAN 0
#endif

#endif /* STRESS_SANITIZER_H */
