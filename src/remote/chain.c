#include "remote/chain.h"

#include <lauxlib.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/stack.h"
#include "remote/call.h"
#include "remote/callback.h"
#include "remote/execute.h"
#include "remote/line.h"
#include "remote/reference.h"

/* For ro_Writer: the references that were written belong to no session, or to several. */
#define NO_SESSION UINT64_MAX

/* How many operands an operation has; most -1: any number. */
static const struct {
  int least, most;
} operand_counts[] = {
    [RO_OP_ROOT] = {0, 0},      [RO_OP_INDEX] = {1, 1}, [RO_OP_CALL] = {0, -1}, [RO_OP_METHOD] = {1, -1},
    [RO_OP_PASSTO] = {1, -1},   [RO_OP_SUPER] = {0, 0}, [RO_OP_SET] = {2, 2},   [RO_OP_LENGTH] = {0, 0},
    [RO_OP_CONTAINS] = {1, 1},  [RO_OP_PAIRS] = {0, 0}, [RO_OP_NEXT] = {1, 1},  [RO_OP_IPAIRS] = {0, 0},
    [RO_OP_REFERENCE] = {1, 1}, [RO_OP_REFER] = {0, 0},
};

/* ---- encoding ---- */

void ro_writer_claims(ro_Writer *writer, uint64_t session) {
  writer->session = writer->session == 0 || writer->session == session ? session : NO_SESSION;
}

/*
** Writes the claim at `index` as the other side calls it: the handle of an object. Where that is no longer so the
** session of `writer` says it.
*/
static void put_claim(ro_Encoder *e, int index, ro_Writer *writer) {
  lua_State *L = ro_encoder_state(e);
  const ro_Claim *claim = ro_check_claim(L, index);
  lua_Integer handle = (lua_Integer)claim->handle;
  if (writer == NULL || writer->proxy != claim->proxy)
    ro_unsendable(e, "a reference to an object that another listener keeps for this process");
  if (writer->holder != NULL) {
    lua_pushvalue(L, index);
    ro_claim_to_object(L);
    handle = ro_handle_give(L, writer->holder, -1);
    lua_pop(L, 1);
  } else {
    ro_writer_claims(writer, handle != 0 ? claim->session : NO_SESSION);
  }
  ro_put_integer(ro_encoder_buffer(e), handle);
}

/* What users call the operand with that position, for paths of errors: N of "argument N". */
static int operand_number(ro_Operation operation, int position) {
  return operation == RO_OP_METHOD ? position : position + 1;
}

static void encode_operand(ro_Encoder *e, ro_EncodeRules *rules, ro_Operation operation, int index,
                           int position) {
  const char *label;
  if (operation == RO_OP_SET && position == 1 && rules != NULL) {
    label = rules->label;
    rules->label = "value";
    ro_encode(e, index, 0);
    rules->label = label;
  } else {
    ro_encode(e, index, operand_number(operation, position));
  }
}

static void encode_operation(ro_Encoder *e, ro_EncodeRules *rules, ro_Writer *writer, ro_Operation operation,
                             int first, int count) {
  ro_put_integer(ro_encoder_buffer(e), operation);
  ro_put_array(ro_encoder_buffer(e), (uint32_t)count);
  if (operation == RO_OP_REFERENCE) {
    put_claim(e, first, writer);
    return;
  }
  for (int i = 0; i < count; i++)
    encode_operand(e, rules, operation, first + i, i);
}

/* What the chain is part of. */
typedef struct Surroundings {
  ro_EncodeRules *rules; /* of the session, for paths; NULL: a view that is a value */
  int refers;            /* begins with RO_OP_REFER */
  int further;           /* operations that the caller adds */
} Surroundings;

/* Encodes how many operations there are, and those of the view at `view`. */
static void encode_chain(ro_Encoder *e, ro_Writer *writer, int view, Surroundings around) {
  lua_State *L = ro_encoder_state(e);
  int top = lua_gettop(L), length = ro_push_chain(L, view);
  ro_put_integer(ro_encoder_buffer(e), around.refers + length + around.further);
  if (around.refers)
    encode_operation(e, NULL, NULL, RO_OP_REFER, 0, 0);
  for (int i = length; i >= 1; i--) {
    const ro_View *step = lua_touserdata(L, top + i);
    int operands = lua_gettop(L) + 1;
    int number = ro_push_operands(L, top + i);
    encode_operation(e, around.rules, writer, step->operation, operands, number);
    lua_settop(L, operands - 1);
  }
  lua_settop(L, top);
}

/* In answers a mere reference has a form of its own. */
static int put_reference(ro_Encoder *e, int index, ro_Writer *writer) {
  lua_State *L = ro_encoder_state(e);
  size_t mark;
  if (writer == NULL || writer->holder == NULL || ro_encoder_in_function(e) ||
      ((ro_View *)lua_touserdata(L, index))->operation != RO_OP_REFERENCE)
    return 0;
  mark = ro_ext_begin(ro_encoder_buffer(e), RO_EXT_REFERRED);
  ro_push_operands(L, index);
  put_claim(e, lua_gettop(L), writer);
  lua_pop(L, 1);
  ro_ext_end(ro_encoder_buffer(e), mark);
  return 1;
}

int ro_chain_userdata(ro_Encoder *e, int index, void *context) {
  lua_State *L = ro_encoder_state(e);
  ro_View *view = ro_test_view(L, index);
  size_t mark;
  if (view == NULL)
    return ro_put_future(e, index, context) || ro_put_callback(e, index, context);
  if (put_reference(e, index, context))
    return 1;
  /* a function that uses a proxy goes on using it; elsewhere a proxy stands for what it leads to */
  mark = ro_ext_begin(ro_encoder_buffer(e), ro_encoder_in_function(e) ? RO_EXT_PROXY : RO_EXT_VIEW);
  ro_put_integer(ro_encoder_buffer(e), (lua_Integer)view->proxy->id);
  encode_chain(e, context, index, (Surroundings){NULL, 0, 0});
  ro_ext_end(ro_encoder_buffer(e), mark);
  return 1;
}

void ro_chain_rules(lua_State *L, ro_EncodeRules *rules, ro_Writer *writer) {
  *rules = (ro_EncodeRules){
      .label = "argument", .userdata = ro_chain_userdata, .context = writer, .limit = ro_frame_limit(L)};
}

void ro_chain_answer_rules(lua_State *L, int object, ro_EncodeRules *rules, ro_Writer *writer,
                           const char *label) {
  ro_chain_rules(L, rules, writer);
  rules->label = label;
  if (ro_is_referable(L, object)) /* has an identity */
    rules->object = lua_topointer(L, object);
}

void ro_chain_encode(ro_Encoder *e, ro_EncodeRules *rules, int view, ro_Operation operation, int first,
                     int count) {
  lua_State *L = ro_encoder_state(e);
  const ro_View *v = lua_touserdata(L, view);
  Surroundings around = {rules, (v->options.flags & RO_GIVES_REFERENCES) != 0, operation != RO_OP_ROOT};
  encode_chain(e, rules->context, lua_absindex(L, view), around);
  if (operation != RO_OP_ROOT)
    encode_operation(e, rules, rules->context, operation, first, count);
}

void ro_chain_put_object(ro_Encoder *e, ro_Writer *writer, int index) {
  lua_State *L = ro_encoder_state(e);
  size_t mark = ro_ext_begin(ro_encoder_buffer(e), RO_EXT_REFERRED);
  ro_put_integer(ro_encoder_buffer(e), ro_handle_give(L, writer->holder, index));
  ro_ext_end(ro_encoder_buffer(e), mark);
}

/* Is the value at `index` one that a reference can stand for, and that nothing else does. */
static int needs_reference(lua_State *L, const ro_Writer *writer, int index) {
  int is_object;
  if (!writer->refers || !ro_is_referable(L, index) || ro_test_view(L, index) != NULL)
    return 0;
  ro_push_object(L, writer->proxy);
  is_object = lua_rawequal(L, index, -1);
  lua_pop(L, 1);
  return !is_object;
}

void ro_chain_put_result(ro_Encoder *e, ro_Writer *writer, int index, int number) {
  if (needs_reference(ro_encoder_state(e), writer, index))
    ro_chain_put_object(e, writer, index);
  else
    ro_encode(e, index, number);
}

/* ---- decoding ---- */

lua_Integer ro_chain_length(ro_Decoder *d) {
  lua_Integer length = ro_get_integer(d);
  if (length < 0)
    ro_raise(ro_decoder_state(d), RO_PROTOCOL, "a chain of %I operations", length);
  return length;
}

/* Replaces the handle on top by what it stands for here. [-1, +1, v] */
static void read_reference(lua_State *L, const ro_Reader *reader) {
  lua_Integer handle = lua_tointeger(L, -1);
  if (reader == NULL || !lua_isinteger(L, -1))
    ro_raise(L, RO_PROTOCOL, "a reference out of place");
  else if (reader->holder != NULL)
    ro_push_handled(L, reader->holder, handle);
  else
    ro_push_reference(L, reader->proxy, reader->session, handle);
  lua_remove(L, -2);
}

ro_Operation ro_chain_next(ro_Decoder *d, const ro_Reader *reader, int *count) {
  lua_State *L = ro_decoder_state(d);
  lua_Integer operation = ro_get_integer(d);
  uint32_t operands = ro_get_array(d);
  if (operation <= RO_OP_ROOT || operation > RO_OP_REFER)
    ro_raise(L, RO_PROTOCOL, "unknown operation %I", operation);
  if (operands < (uint32_t)operand_counts[operation].least ||
      (operand_counts[operation].most >= 0 && operands > (uint32_t)operand_counts[operation].most))
    ro_raise(L, RO_PROTOCOL, "operation %I with %I operands", operation, (lua_Integer)operands);
  for (*count = 0; (uint32_t)*count < operands; ++*count) {
    if (*count % 8 == 0)
      ro_check_stack(L, 16, "too many arguments");
    ro_decode(d);
  }
  if (operation == RO_OP_REFERENCE)
    read_reference(L, reader);
  return (ro_Operation)operation;
}

/* Replaces the proxy below the operand on top, and the operand, by the reference that it stands for. [-2, +1, v] */
static void make_reference(lua_State *L, const ro_Reader *reader) {
  const ro_Proxy *proxy = ((ro_View *)lua_touserdata(L, -2))->proxy;
  if (reader == NULL || proxy != reader->proxy) {
    ro_raise(L, RO_PROTOCOL, "a reference out of place");
    return;
  }
  if (reader->holder != NULL) {
    ro_push_local_reference(L, reader->proxy, -1);
    lua_remove(L, -2);
  }
  lua_remove(L, -2);
}

/* Pushes the view that the rest of the payload describes, on the proxy on top. [-0, +1, v] */
static void read_view(ro_Decoder *d, const ro_Reader *reader) {
  lua_State *L = ro_decoder_state(d);
  lua_Integer length = ro_chain_length(d);
  for (lua_Integer i = 0; i < length; i++) {
    int count, parent = lua_gettop(L);
    ro_Operation operation = ro_chain_next(d, reader, &count);
    if (operation == RO_OP_REFERENCE) {
      make_reference(L, reader);
      continue;
    }
    ro_pack_operands(L, operation, count);
    ro_push_view(L, parent, operation);
    lua_remove(L, parent);
  }
}

/* Pushes the value that the rest of the payload leads to on the object of the reader's proxy. [-0, +1, v] */
static void read_value(ro_Decoder *d, const ro_Reader *reader) {
  lua_State *L = ro_decoder_state(d);
  lua_Integer length = ro_chain_length(d);
  ro_Machine machine;
  ro_push_object(L, reader->proxy);
  ro_machine_begin(&machine, L);
  for (lua_Integer i = 0; i < length; i++) {
    int count;
    ro_Operation operation = ro_chain_next(d, reader, &count);
    int results = ro_machine_apply(&machine, operation, count);
    ro_machine_keep(&machine, results);
  }
}

static void special_result(ro_Decoder *d, const ro_Reader *reader) {
  lua_State *L = ro_decoder_state(d);
  lua_Integer id = ro_get_integer(d);
  if (reader == NULL || reader->results == 0 || !lua_istable(L, reader->results))
    ro_raise(L, RO_PROTOCOL, "the result of a request outside of one that names it");
  else
    lua_rawgeti(L, reader->results, id);
}

static void special_view(ro_Decoder *d, const ro_Reader *reader, int as_value) {
  lua_State *L = ro_decoder_state(d);
  uint64_t id = (uint64_t)ro_get_integer(d);
  ro_check_stack(L, 8, NULL);
  if (as_value && reader != NULL && reader->holder != NULL && reader->proxy->id == id)
    read_value(d, reader);
  else if (ro_push_proxy_by_id(L, id) != NULL)
    read_view(d, reader);
  else
    ro_raise(L, RO_UNSENDABLE, "cannot receive a proxy that was made after this process was forked");
}

static void special_object(lua_State *L, const ro_Reader *reader) {
  if (reader == NULL)
    ro_raise(L, RO_PROTOCOL, "an object without a proxy");
  else if (reader->holder != NULL)
    ro_push_object(L, reader->proxy);
  else
    ro_push_proxy(L, reader->proxy);
}

static void special_reference(ro_Decoder *d, const ro_Reader *reader) {
  lua_pushinteger(ro_decoder_state(d), ro_get_integer(d));
  read_reference(ro_decoder_state(d), reader);
}

static void special_callback(ro_Decoder *d, const ro_Reader *reader) {
  lua_State *L = ro_decoder_state(d);
  lua_Integer number = ro_get_integer(d);
  if (reader == NULL || reader->line == 0)
    ro_raise(L, RO_PROTOCOL, "a callback outside of a request");
  else
    ro_push_line_function(L, reader->proxy, reader->holder, reader->line, number);
}

void ro_chain_special(ro_Decoder *d, int type, size_t size, void *context) {
  lua_State *L = ro_decoder_state(d);
  (void)size;
  ro_check_stack(L, 4, NULL);
  switch (type) {
  case RO_EXT_OBJECT:
    special_object(L, context);
    break;
  case RO_EXT_VIEW:
    special_view(d, context, 1);
    break;
  case RO_EXT_PROXY:
    special_view(d, context, 0);
    break;
  case RO_EXT_CALLBACK:
    special_callback(d, context);
    break;
  case RO_EXT_REFERRED:
    special_reference(d, context);
    break;
  case RO_EXT_RESULT:
    special_result(d, context);
    break;
  default:
    ro_raise(L, RO_PROTOCOL, "unknown extension type %d", type);
  }
}
