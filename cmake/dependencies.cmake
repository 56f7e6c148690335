# Everything comes from Debian 12. Found packages are SYSTEM: their headers raise no warnings of ours.
find_package(Threads REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(fmt REQUIRED)
find_package(ZLIB REQUIRED)
find_package(zstd REQUIRED)
find_package(Boost 1.74 REQUIRED COMPONENTS program_options)
find_path(ORRERY_PROTOZERO_INCLUDE protozero/pbf_writer.hpp REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(SIMGRID IMPORTED_TARGET simgrid)  # the contended fabric is a module of its own; optional
