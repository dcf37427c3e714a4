# Third parties, each as one imported target with SYSTEM includes; docs/dependencies.md says why each is here.
find_package(PkgConfig REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)
find_package(Threads REQUIRED)
foreach(pair IN ITEMS "uv;libuv" "nghttp2;libnghttp2" "protobuf_c;libprotobuf-c" "yaml;yaml-0.1"
        "jansson;jansson" "knot;libknot" "mnl;libmnl" "capng;libcap-ng"
        "xxhash;libxxhash")
    list(GET pair 0 name)
    list(GET pair 1 module)
    pkg_check_modules(${name} REQUIRED IMPORTED_TARGET GLOBAL ${module})
    add_library(third::${name} ALIAS PkgConfig::${name})
endforeach()

# llhttp comes as sources on Debian 12 (package node-llhttp), as a library on newer systems.
find_library(LLHTTP_LIBRARY NAMES llhttp)
if(LLHTTP_LIBRARY)
    add_library(llhttp INTERFACE)
    target_link_libraries(llhttp INTERFACE ${LLHTTP_LIBRARY})
else()
    set(LLHTTP_DIR /usr/share/llhttp)
    add_library(llhttp STATIC ${LLHTTP_DIR}/llhttp.c ${LLHTTP_DIR}/api.c ${LLHTTP_DIR}/http.c)
    target_include_directories(llhttp SYSTEM PUBLIC /usr/share/include/llhttp)
endif()
add_library(third::llhttp ALIAS llhttp)
add_library(third::openssl INTERFACE IMPORTED GLOBAL)
target_link_libraries(third::openssl INTERFACE OpenSSL::SSL OpenSSL::Crypto)
