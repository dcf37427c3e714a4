/*
 * codec_new.h - new messages, and those around one value; inside the room.
 *
 * Thread: any.
 */
#ifndef ISTHMUS_XDS_CODEC_NEW_H
#define ISTHMUS_XDS_CODEC_NEW_H

#include <google/protobuf/duration.pb-c.h>
#include <google/protobuf/wrappers.pb-c.h>

#include "proxy/base/arena.h"

/* An empty message of a type, of whose generated name and that of its init this is all. */
#define NEW(arena, Type, init)                                                                     \
    __extension__({                                                                                \
        Type *made_ = arena_new(arena, Type);                                                      \
        init(made_);                                                                               \
        made_;                                                                                     \
    })

/* A message around one number. */
#define NEW_AROUND(arena, Type, init, field, number)                                               \
    __extension__({                                                                                \
        Type *around_ = NEW(arena, Type, init);                                                    \
        around_->field = (number);                                                                 \
        around_;                                                                                   \
    })

Google__Protobuf__Duration *codec_new_duration(struct arena *arena, uint64_t ns);
Google__Protobuf__UInt32Value *codec_new_u32(struct arena *arena, uint32_t value);

#endif
