# Flags of our own targets, as one interface library.
add_library(orrery_flags INTERFACE)
target_compile_options(orrery_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-align -Wunused
  -Wconversion -Wno-sign-conversion -Wdouble-promotion -Wformat=2 -Wimplicit-fallthrough
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)  # GCC 12 sees overlaps in std::string that are not there (GCC bug 105651)
if(ORRERY_WERROR)
  target_compile_options(orrery_flags INTERFACE -Werror)
endif()
# What AddressSanitizer finds as well, or nothing here can trip over, is left out of the undefined-behaviour checks: a
# third of their compile time.
set(sanitizers -fsanitize=address,undefined -fno-sanitize=null,object-size,alignment,vptr
  -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
if(ORRERY_SANITIZE)
  target_compile_options(orrery_flags INTERFACE ${sanitizers})
  target_link_options(orrery_flags INTERFACE -fsanitize=address,undefined)
endif()
if(ORRERY_FUZZ)
  target_compile_options(orrery_flags INTERFACE ${sanitizers} -fsanitize=fuzzer-no-link)
  target_link_options(orrery_flags INTERFACE -fsanitize=address,undefined)
endif()
