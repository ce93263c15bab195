/* A Redis module with one command, ALLOCATOR.WITNESS: asked over the wire, the server itself says
 * which file its malloc comes from and which version of mete it runs on ("-" when none).
 *
 * This is the proof that the demo demands: an environment variable or a mapped file shows only what
 * was intended. The module interface is declared here as Redis documents it (Modules API
 * reference), so that no header of Redis is needed.
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

typedef struct redis_context redis_context;
typedef int (*get_api_function)(const char* name, void* function);
typedef int (*command_function)(redis_context* context, void** arguments, int count);
typedef void (*set_module_attributes_function)(redis_context* context, const char* name,
                                               int version, int api_version);
typedef int (*create_command_function)(redis_context* context, const char* name,
                                       command_function function, const char* flags, int first_key,
                                       int last_key, int key_step);
typedef int (*reply_with_string_function)(redis_context* context, const char* text);

enum { redis_ok = 0, redis_error = 1, redis_api_version = 1 };

static reply_with_string_function reply_with_string;

static int witness(redis_context* context, void** arguments, int count) {
  (void)arguments;
  (void)count;
  Dl_info library = {0};
  void* allocate = dlsym(RTLD_DEFAULT, "malloc");
  if (allocate == NULL || dladdr(allocate, &library) == 0) {
    return reply_with_string(context, "unknown -");
  }
  const char* (*version)(void) = NULL;
  void* symbol = dlsym(RTLD_DEFAULT, "mete_version");
  memcpy(&version, &symbol, sizeof version); /* C has no cast from object to function pointer */
  char text[4096];
  snprintf(text, sizeof text, "%s %s", library.dli_fname, version != NULL ? version() : "-");
  return reply_with_string(context, text);
}

int RedisModule_OnLoad(redis_context* context, void** arguments, int count) {
  (void)arguments;
  (void)count;
  /* The context begins with a pointer to the function that finds all others by name. */
  get_api_function get_api = NULL;
  memcpy(&get_api, context, sizeof get_api);
  set_module_attributes_function set_attributes = NULL;
  create_command_function create_command = NULL;
  if (get_api("RedisModule_SetModuleAttribs", &set_attributes) != redis_ok ||
      get_api("RedisModule_CreateCommand", &create_command) != redis_ok ||
      get_api("RedisModule_ReplyWithSimpleString", &reply_with_string) != redis_ok) {
    return redis_error;
  }
  set_attributes(context, "allocator_witness", 1, redis_api_version);
  return create_command(context, "allocator.witness", witness, "readonly fast", 0, 0, 0);
}
