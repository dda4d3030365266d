# bulla_proto(<target> <import dir> <protos...>): the messages as a library, and gRPC's code for the
# services, for who uses grpc++, as another, <target>_grpc. Generated code's warnings are not ours
# to mend, so they are off, and its headers are system headers to everyone else.
function(bulla_proto target import_dir)
  set(generated ${CMAKE_CURRENT_BINARY_DIR}/generated)
  file(MAKE_DIRECTORY ${generated})
  get_target_property(grpc_plugin gRPC::grpc_cpp_plugin LOCATION)
  set(messages)
  set(services)
  foreach(proto ${ARGN})
    string(REGEX REPLACE "\\.proto$" "" stem ${proto})
    set(of_messages ${generated}/${stem}.pb.cc ${generated}/${stem}.pb.h)
    set(of_services ${generated}/${stem}.grpc.pb.cc ${generated}/${stem}.grpc.pb.h)
    add_custom_command(
      OUTPUT ${of_messages} ${of_services}
      COMMAND protobuf::protoc -I ${import_dir} --cpp_out=${generated} --grpc_out=${generated}
              --plugin=protoc-gen-grpc=${grpc_plugin} ${import_dir}/${proto}
      DEPENDS ${import_dir}/${proto}
      COMMENT "protoc ${proto}")
    list(APPEND messages ${of_messages})
    list(APPEND services ${of_services})
  endforeach()
  add_library(${target} STATIC ${messages})
  target_link_libraries(${target} PUBLIC protobuf::libprotobuf)
  add_library(${target}_grpc STATIC ${services})
  target_link_libraries(${target}_grpc PUBLIC ${target} gRPC::grpc++)
  foreach(library ${target} ${target}_grpc)
    target_include_directories(${library} SYSTEM PUBLIC ${generated})
    target_compile_options(${library} PRIVATE -w)
  endforeach()
endfunction()
