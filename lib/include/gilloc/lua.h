/* SPDX-License-Identifier: MIT */
/*
 * gilloc/lua.h - Lua's memory from gilloc.  Needs no header of Lua.
 *
 *     lua_State *L = lua_newstate(gilloc_lua_alloc, NULL);
 *
 * A thread is attached while it runs Lua.  In GIL-free mode any number of threads
 * does, each in states of its own.
 */
#ifndef GILLOC_LUA_H
#define GILLOC_LUA_H

#include <gilloc/pymem.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A lua_Alloc (Lua 5.1 to 5.4): allocates (`block` NULL; `old_size` is then what kind
   of object it will be, and is not looked at), resizes, or frees (`new_size` 0) in the
   object domain.  `user_data` is not looked at.  A block is freed by
   gilloc_free_sized(): a size that it cannot have is a fatal error, in Lua or in what
   else writes to its memory.  NULL: it was freed, or memory is out and the block is as
   it was; never as a block is made smaller, on which Lua relies.  The caller must be attached. */
GILLOC_API void *gilloc_lua_alloc(void *user_data, void *block, size_t old_size, size_t new_size);

#ifdef __cplusplus
}
#endif

#endif /* GILLOC_LUA_H */
