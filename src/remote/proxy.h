/*
** The proxy and its views: full userdata of one type. A view is its parent and one more
** operation; the proxy itself is the view without a parent.
*/
#ifndef RO_PROXY_H
#define RO_PROXY_H

#include <lua.h>

#include "base/atfork.h"
#include "base/estate.h"
#include "lock/lock.h"
#include "remote/client.h"
#include "remote/watch.h"
#include "sys/door.h"

/* The operations of a chain. Part of the wire format: never renumber. */
typedef enum ro_Operation {
  RO_OP_ROOT = 0, /* no operation: the object */
  RO_OP_INDEX,    /* key */
  RO_OP_CALL,     /* arguments... */
  RO_OP_METHOD,   /* name, arguments...: look up and call with the value as self */
  RO_OP_PASSTO,   /* function, arguments...: function(value, arguments...) */
  RO_OP_SUPER,    /* the same object, names looked up one class further up */
  RO_OP_SET,      /* key, value */
  RO_OP_LENGTH,
  RO_OP_CONTAINS,  /* key */
  RO_OP_PAIRS,     /* begins to iterate: a handle and the first keys and values */
  RO_OP_NEXT,      /* handle: what follows */
  RO_OP_IPAIRS,    /* begins to iterate over a list: a handle and the first items */
  RO_OP_REFERENCE, /* handle: works on the object that the client knows by it */
  RO_OP_REFER /* before all others: what they give stays in the listener, and references to it are sent */
} ro_Operation;

/* Does the operation begin or continue a loop over a table. */
static inline int ro_iterates(ro_Operation operation) {
  return operation == RO_OP_PAIRS || operation == RO_OP_NEXT || operation == RO_OP_IPAIRS;
}

/* Options that a view carries; the flags say which are set. */
enum {
  RO_HAS_DEFAULT = 1,       /* in user value RO_VIEW_DEFAULT */
  RO_HAS_TIMEOUT = 2,       /* in `timeout` */
  RO_CALL_IS_VIEW = 4,      /* the next call is not evaluated */
  RO_CALL_IS_EVALUATED = 8, /* the next call is evaluated, whatever the proxy says */
  RO_PROXYS_DEFAULT = 16,   /* the default is the proxy's own: not for assignments */
  RO_GIVES_REFERENCES = 32, /* results stay in the listener */
  RO_IS_ASYNC = 64,         /* evaluations give futures */
  RO_IS_ONEWAY = 128,       /* evaluations have no answer */
  RO_IS_NOT_AWAITED = RO_IS_ASYNC | RO_IS_ONEWAY
};

typedef struct ro_Options {
  int flags;
  double timeout; /* seconds */
} ro_Options;

struct ro_Proxy;

typedef struct ro_View {
  struct ro_Proxy *proxy;
  ro_Operation operation;
  ro_Options options;
  unsigned kept; /* equal to that of the proxy itself: its parent keeps it */
} ro_View;

/* User values of a view. */
enum {
  RO_VIEW_PARENT = 1, /* of the proxy itself: the object */
  RO_VIEW_OPERANDS,   /* INDEX: the key; those with several: a list with its length in `n` */
  RO_VIEW_DEFAULT,
  RO_VIEW_FIELDS, /* kept views on this one by their keys, or nil */
  RO_VIEW_USERVALUES = RO_VIEW_FIELDS,
  RO_PROXY_CLAIMS = RO_VIEW_USERVALUES + 1, /* of the proxy itself: references in use (remote/reference.h) */
  RO_PROXY_USERVALUES = RO_PROXY_CLAIMS
};

struct ro_Listener;
struct ro_Line;

typedef struct ro_Proxy {
  ro_View view; /* first, so that a proxy is a view */
  ro_Asset asset;
  uint64_t id;
  ro_Door door;
  ro_Client client;             /* this process's connection */
  struct ro_Listener *listener; /* when this process listens, else NULL */
  struct ro_Listener
      *ended;            /* one that has ended while nobody waited for its threads, which it keeps; or NULL */
  struct ro_Line *lines; /* of requests that are served and have callbacks */
  uint64_t last_call;    /* of such a one */
  ro_Lock *lock;
  ro_ForkNode fork_node;
  ro_Counters counters;
  ro_Watch *watch;         /* of the state */
  int views;               /* how many are kept */
  uint64_t last_reference; /* number of the last that was made in this process for its own use */
  int eager_proxy;
  int fulfill_final;
} ro_Proxy;

/* The view at `index`, or NULL when the value is none. [-0, +0, -] */
ro_View *ro_test_view(lua_State *L, int index);

/* The view at `index`, or an argument error. [-0, +0, v] */
ro_View *ro_check_view(lua_State *L, int index);

/*
** The proxy whose view is at `index` when that is the proxy itself without any operation. Raises
** otherwise. [-0, +0, v]
*/
ro_Proxy *ro_check_proxy(lua_State *L, int index);

/* Pushes the proxy's own userdata. [-0, +1, -] */
void ro_push_proxy(lua_State *L, const ro_Proxy *proxy);

/*
** Pushes the userdata of the proxy with that id; returns it, or pushes nothing and returns NULL.
** [-0, +(0|1), -]
*/
ro_Proxy *ro_push_proxy_by_id(lua_State *L, uint64_t id);

/* Pushes a list of all proxies of the state. [-0, +1, m] */
void ro_push_proxies(lua_State *L);

/* Pushes the object of the proxy. [-0, +1, -] */
void ro_push_object(lua_State *L, const ro_Proxy *proxy);

/*
** Pops the operands (INDEX: one key; several: a list with `n`; none: nil) and pushes a view of
** that operation on the view at `parent`, with its options. [-1, +1, m]
*/
ro_View *ro_push_view(lua_State *L, int parent, ro_Operation operation);

/*
** A proxy keeps some views of its fields, and those of theirs, so that a program that names the same again and again
** makes none anew: views never change. The first pushes the one of the key on top on the view at `parent` and returns
** 1, if it is kept; the second keeps the view on top, if its parent at `parent` is kept and it is a field with a short
** name. [-0, +(0|1), -], [-0, +0, m]
*/
int ro_push_kept_field(lua_State *L, int parent);
void ro_keep_field(lua_State *L, int parent);

/*
** Pushes the views of the chain of the view at `index`, the last step first; returns how many. Needs a free slot, and
** leaves two. [-0, +n, m]
*/
int ro_push_chain(lua_State *L, int index);

/* Pushes the operands of the view at `index`; returns how many. Needs a free slot. [-0, +n, v] */
int ro_push_operands(lua_State *L, int index);

/* Turns the `count` operands on top into the one value that a view keeps of them. [-count, +1, m] */
void ro_pack_operands(lua_State *L, ro_Operation operation, int count);

/* Is the chain of the view at `index` empty, so that it stands for the object. [-0, +0, -] */
int ro_is_root(lua_State *L, int index);

/* Names of options, as bits, for ro_merge_options. */
enum {
  RO_OPTION_DEFAULT = 1,
  RO_OPTION_TIMEOUT = 2,
  RO_OPTION_PROXY = 4,
  RO_OPTION_EAGER_PROXY = 8,
  RO_OPTION_FULFILL_FINAL = 16,
  RO_OPTION_REF = 32,
  RO_OPTION_ASYNC = 64,
  RO_OPTION_ONEWAY = 128
};

/*
** Merges the options table at `index` into those of the view on top of the stack: `allowed`
** (bits of RO_OPTION_*) says which; unknown names and wrong types raise an argument error. [-0, +0, v]
*/
void ro_merge_options(lua_State *L, int index, unsigned allowed);

/* Pushes a view like the one at `index`, whose options may then be changed. [-0, +1, m] */
ro_View *ro_push_copy(lua_State *L, int index);

/*
** fileno_ and process_requests of the proxy at `index`, which stays where it is: the descriptor; how many requests
** were served, at most `most`. [-0, +0, v]
*/
int ro_fileno(lua_State *L, int index);
lua_Integer ro_process_requests(lua_State *L, int index, lua_Integer most);

/* Push the metatables of views and of proxies, made at the first use. [-0, +1, m] */
void ro_push_view_metatable(lua_State *L);
void ro_push_proxy_metatable(lua_State *L);

/* Adds Proxy and get to the module table on top of the stack. [-0, +0, m] */
void ro_open_remote(lua_State *L);

#endif
