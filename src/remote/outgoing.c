#include "remote/outgoing.h"

#include <lauxlib.h>

#include "remote/proxy.h"

#define WORTH_RELEASING (64 * sizeof(ro_Release)) /* bytes of handles that may wait for more */

int ro_client_queue_frame(ro_Proxy *proxy, ro_Buffer *frame) {
  size_t size = frame->size;
  if (ro_link_queue(&proxy->client.link, frame) != RO_LINK_OK)
    return 0;
  proxy->client.queued += size;
  proxy->counters.bytes_sent += (lua_Integer)size;
  return 1;
}

void ro_client_queue(lua_State *L, ro_Proxy *proxy, ro_Buffer *frame) {
  if (!ro_client_queue_frame(proxy, frame))
    luaL_error(L, "not enough memory");
  ro_link_flush(&proxy->client.link);
}

void ro_client_queue_bare(ro_Proxy *proxy, ro_FrameKind kind, uint64_t id) {
  ro_FrameHead head = {.kind = kind, .id = id};
  ro_Buffer frame;
  ro_buffer_init(&frame);
  ro_frame_begin(&frame);
  ro_frame_finish(&frame, 0, &head);
  if (!frame.failed)
    ro_client_queue_frame(proxy, &frame);
  ro_buffer_free(&frame);
}

/* ---- releases ---- */

void ro_client_release(ro_Proxy *proxy, uint64_t session, int64_t handle, uint64_t times, int soon) {
  ro_Client *client = &proxy->client;
  ro_Release release = {handle, times};
  if (client->session != session || session == 0)
    return;
  ro_buffer_add(&client->released, &release, sizeof release);
  client->released.failed = 0; /* without memory it stays until the connection ends */
  client->release_soon |= soon;
}

/* Appends a frame of what has been let go. */
static void write_releases(ro_Client *client, ro_Buffer *frame) {
  ro_FrameHead head = {.kind = RO_FRAME_RELEASE};
  size_t start = ro_frame_begin(frame);
  ro_buffer_add(frame, client->released.data, client->released.size);
  ro_frame_finish(frame, start, &head);
}

void ro_client_queue_releases(ro_Client *client, ro_Buffer *frame) {
  ro_Buffer release;
  if (client->released.size < WORTH_RELEASING && !client->release_soon)
    return;
  ro_buffer_init(&release);
  write_releases(client, &release);
  ro_buffer_add(&release, frame->data, frame->size);
  if (!release.failed) {
    ro_Buffer plain = *frame;
    *frame = release;
    release = plain;
    ro_buffer_clear(&client->released, 1024);
    client->release_soon = 0;
  }
  ro_buffer_free(&release);
}

void ro_client_send_releases(ro_Proxy *proxy) {
  ro_Client *client = &proxy->client;
  ro_Buffer frame;
  if (client->released.size == 0 || client->generation == 0)
    return;
  ro_buffer_init(&frame);
  write_releases(client, &frame);
  if (!frame.failed && ro_client_queue_frame(proxy, &frame)) {
    ro_buffer_clear(&client->released, 1024);
    client->release_soon = 0;
    ro_link_flush(&client->link);
  }
  ro_buffer_free(&frame);
}
