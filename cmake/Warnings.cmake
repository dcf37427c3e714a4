# The warnings every source of ours is built with, and the hardening of release builds.
add_library(isthmus_warnings INTERFACE)
set(both
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wcast-align
    -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wredundant-decls -Wformat=2
    -Wundef -Wvla -Wwrite-strings -Wpointer-arith -Wswitch-enum -Wimplicit-fallthrough
    -Wnull-dereference -Wdouble-promotion)
# -Wcast-qual is gcc's only: clang applies it inside the macros of OpenSSL and protobuf-c too.
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    list(APPEND both -Wcast-qual -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Wtrampolines -Walloca
         -Wstack-usage=65536)
else()
    list(APPEND both -Wmissing-variable-declarations -Wcomma -Wconditional-uninitialized
         -Wunreachable-code)
endif()
if(ISTHMUS_WERROR)
    list(APPEND both -Werror)
endif()
target_compile_options(isthmus_warnings INTERFACE ${both})

# What everything is built with, third-party and generated code included.
add_compile_definitions(_GNU_SOURCE)
add_compile_options(-fno-omit-frame-pointer)
add_compile_options($<$<COMPILE_LANGUAGE:C>:-Werror=implicit-function-declaration>)
if(ISTHMUS_SANITIZE)
    add_compile_options(-fsanitize=${ISTHMUS_SANITIZE})
    add_link_options(-fsanitize=${ISTHMUS_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
    add_compile_options(-D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection
                        -fcf-protection -fno-plt)
    add_link_options(-Wl,-z,relro -Wl,-z,now)
    # A request goes through some 250 functions, of which many only say what is meant: as many of them
    # become part of others as with -O3. What else that does makes HTTP/1.1 dearer.
    if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
        add_compile_options(--param=max-inline-insns-auto=30 --param=inline-min-speedup=15
                            --param=early-inlining-insns=14)
    endif()
    # gcc zeroes structs of over 64 bytes with "rep stos", which takes some thirty cycles to begin.
    if(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
        add_compile_options(-mmemset-strategy=unrolled_loop:256:noalign,libcall:-1:noalign)
    endif()
endif()
