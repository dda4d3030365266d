# bulla_proto(<target> <import dir> <protos...>): generated protobuf and gRPC code as a library. Its
# warnings are not ours to mend, so they are off, and its headers are system headers to everyone
# else.
function(bulla_proto target import_dir)
  set(generated ${CMAKE_CURRENT_BINARY_DIR}/generated)
  file(MAKE_DIRECTORY ${generated})
  get_target_property(grpc_plugin gRPC::grpc_cpp_plugin LOCATION)
  set(outputs)
  foreach(proto ${ARGN})
    string(REGEX REPLACE "\\.proto$" "" stem ${proto})
    set(files ${generated}/${stem}.pb.cc ${generated}/${stem}.pb.h
              ${generated}/${stem}.grpc.pb.cc ${generated}/${stem}.grpc.pb.h)
    add_custom_command(
      OUTPUT ${files}
      COMMAND protobuf::protoc -I ${import_dir} --cpp_out=${generated} --grpc_out=${generated}
              --plugin=protoc-gen-grpc=${grpc_plugin} ${import_dir}/${proto}
      DEPENDS ${import_dir}/${proto}
      COMMENT "protoc ${proto}")
    list(APPEND outputs ${files})
  endforeach()
  add_library(${target} STATIC ${outputs})
  target_include_directories(${target} SYSTEM PUBLIC ${generated})
  target_compile_options(${target} PRIVATE -w)
  target_link_libraries(${target} PUBLIC protobuf::libprotobuf gRPC::grpc++)
endfunction()
