#include "remote/chain.h"

#include <lauxlib.h>

#include "base/error.h"
#include "base/limits.h"
#include "remote/execute.h"

/* How many operands an operation has; most -1: any number. */
static const struct {
  int least, most;
} operand_counts[] = {
    [RO_OP_ROOT] = {0, 0},     [RO_OP_INDEX] = {1, 1}, [RO_OP_CALL] = {0, -1}, [RO_OP_METHOD] = {1, -1},
    [RO_OP_PASSTO] = {1, -1},  [RO_OP_SUPER] = {0, 0}, [RO_OP_SET] = {2, 2},   [RO_OP_LENGTH] = {0, 0},
    [RO_OP_CONTAINS] = {1, 1}, [RO_OP_PAIRS] = {0, 0}, [RO_OP_NEXT] = {1, 1},  [RO_OP_IPAIRS] = {0, 0},
};

/* ---- encoding ---- */

int ro_chain_userdata(ro_Encoder *e, int index, void *context) {
  lua_State *L = ro_encoder_state(e);
  ro_View *view = ro_test_view(L, index);
  size_t mark;
  (void)context;
  if (view == NULL)
    return 0;
  /* a function that uses a proxy goes on using it; elsewhere a proxy stands for what it leads to */
  mark = ro_ext_begin(ro_encoder_buffer(e), ro_encoder_in_function(e) ? RO_EXT_PROXY : RO_EXT_VIEW);
  ro_put_integer(ro_encoder_buffer(e), (lua_Integer)view->proxy->id);
  ro_chain_encode(e, NULL, index, RO_OP_ROOT, 0, 0);
  ro_ext_end(ro_encoder_buffer(e), mark);
  return 1;
}

void ro_chain_rules(lua_State *L, ro_EncodeRules *rules) {
  rules->label = "argument";
  rules->object = NULL;
  rules->userdata = ro_chain_userdata;
  rules->context = NULL;
  rules->text = 0;
  rules->limit = ro_frame_limit(L);
}

/* What users call the operand with that position, for paths of errors: N of "argument N". */
static int operand_number(ro_Operation operation, int position) {
  return operation == RO_OP_METHOD ? position : position + 1;
}

static void encode_operation(ro_Encoder *e, ro_EncodeRules *rules, ro_Operation operation, int first,
                             int count) {
  ro_Buffer *b = ro_encoder_buffer(e);
  ro_put_integer(b, operation);
  ro_put_array(b, (uint32_t)count);
  for (int i = 0; i < count; i++) {
    if (operation == RO_OP_SET && i == 1 && rules != NULL) {
      const char *label = rules->label;
      rules->label = "value";
      ro_encode(e, first + i, 0);
      rules->label = label;
    } else {
      ro_encode(e, first + i, operand_number(operation, i));
    }
  }
}

void ro_chain_encode(ro_Encoder *e, ro_EncodeRules *rules, int view, ro_Operation operation, int first,
                     int count) {
  lua_State *L = ro_encoder_state(e);
  int top, length;
  view = lua_absindex(L, view);
  top = lua_gettop(L);
  length = ro_push_chain(L, view);
  ro_put_integer(ro_encoder_buffer(e), length + (operation != RO_OP_ROOT));
  for (int i = length; i >= 1; i--) {
    const ro_View *step = lua_touserdata(L, top + i);
    int operands = lua_gettop(L) + 1;
    int number = ro_push_operands(L, top + i);
    encode_operation(e, rules, step->operation, operands, number);
    lua_settop(L, operands - 1);
  }
  lua_settop(L, top);
  if (operation != RO_OP_ROOT)
    encode_operation(e, rules, operation, first, count);
}

/* ---- decoding ---- */

lua_Integer ro_chain_length(ro_Decoder *d) {
  lua_Integer length = ro_get_integer(d);
  if (length < 0)
    ro_raise(ro_decoder_state(d), RO_PROTOCOL, "a chain of %I operations", length);
  return length;
}

ro_Operation ro_chain_next(ro_Decoder *d, int *count) {
  lua_State *L = ro_decoder_state(d);
  lua_Integer operation = ro_get_integer(d);
  uint32_t operands = ro_get_array(d);
  if (operation <= RO_OP_ROOT || operation > RO_OP_IPAIRS)
    ro_raise(L, RO_PROTOCOL, "unknown operation %I", operation);
  if (operands < (uint32_t)operand_counts[operation].least ||
      (operand_counts[operation].most >= 0 && operands > (uint32_t)operand_counts[operation].most))
    ro_raise(L, RO_PROTOCOL, "operation %I with %I operands", operation, (lua_Integer)operands);
  for (*count = 0; (uint32_t)*count < operands; ++*count) {
    luaL_checkstack(L, 8, "too many arguments");
    ro_decode(d);
  }
  return (ro_Operation)operation;
}

/* Pushes the view that the rest of the payload describes, on the proxy on top. [-0, +1, v] */
static void read_view(ro_Decoder *d) {
  lua_State *L = ro_decoder_state(d);
  lua_Integer length = ro_chain_length(d);
  for (lua_Integer i = 0; i < length; i++) {
    int count, parent = lua_gettop(L);
    ro_Operation operation = ro_chain_next(d, &count);
    ro_pack_operands(L, operation, count);
    ro_push_view(L, parent, operation);
    lua_remove(L, parent);
  }
}

/* Pushes the value that the rest of the payload leads to on the object of `proxy`. [-0, +1, v] */
static void read_value(ro_Decoder *d, const ro_Proxy *proxy) {
  lua_State *L = ro_decoder_state(d);
  lua_Integer length = ro_chain_length(d);
  ro_Machine machine;
  ro_push_object(L, proxy);
  ro_machine_begin(&machine, L);
  for (lua_Integer i = 0; i < length; i++) {
    int count;
    ro_Operation operation = ro_chain_next(d, &count);
    int results = ro_machine_apply(&machine, operation, count);
    ro_machine_keep(&machine, results);
  }
}

static void special_view(ro_Decoder *d, const ro_Proxy *served) {
  lua_State *L = ro_decoder_state(d);
  uint64_t id = (uint64_t)ro_get_integer(d);
  luaL_checkstack(L, 8, NULL);
  if (served != NULL && served->id == id)
    read_value(d, served);
  else if (ro_push_proxy_by_id(L, id) != NULL)
    read_view(d);
  else
    ro_raise(L, RO_UNSENDABLE, "cannot receive a proxy that was made after this process was forked");
}

void ro_chain_special(ro_Decoder *d, int type, size_t size, void *context) {
  const ro_Reader *reader = context;
  lua_State *L = ro_decoder_state(d);
  (void)size;
  luaL_checkstack(L, 4, NULL);
  switch (type) {
  case RO_EXT_OBJECT:
    if (reader == NULL)
      ro_raise(L, RO_PROTOCOL, "an object without a proxy");
    else if (reader->serves)
      ro_push_object(L, reader->proxy);
    else
      ro_push_proxy(L, reader->proxy);
    break;
  case RO_EXT_VIEW:
    special_view(d, reader != NULL && reader->serves ? reader->proxy : NULL);
    break;
  case RO_EXT_PROXY:
    special_view(d, NULL);
    break;
  default:
    ro_raise(L, RO_PROTOCOL, "unknown extension type %d", type);
  }
}
