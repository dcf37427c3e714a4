#include "xds/codec_new.h"

#include "proxy/base/clock.h"

Google__Protobuf__Duration *codec_new_duration(struct arena *arena, uint64_t ns)
{
    Google__Protobuf__Duration *made =
        NEW(arena, Google__Protobuf__Duration, google__protobuf__duration__init);
    made->seconds = (int64_t)(ns / NS_PER_SEC);
    made->nanos = (int32_t)(ns % NS_PER_SEC);
    return made;
}

Google__Protobuf__UInt32Value *codec_new_u32(struct arena *arena, uint32_t value)
{
    return NEW_AROUND(arena, Google__Protobuf__UInt32Value, google__protobuf__uint32_value__init,
                      value, value);
}
