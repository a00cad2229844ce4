# What `make install` puts where: the command, the libraries, the header, pkg-config and CMake package files, the manual
# page and the shell completions. The last two are printed by the command itself, from its option tables.
include(CMakePackageConfigHelpers)

# ---- texts made by the command ----
set(STERNA_TEXTS ${PROJECT_BINARY_DIR}/share)
file(MAKE_DIRECTORY ${STERNA_TEXTS})
function(sterna_text file)
  add_custom_command(OUTPUT ${STERNA_TEXTS}/${file} COMMAND sterna ${ARGN} > ${STERNA_TEXTS}/${file} DEPENDS sterna
                     VERBATIM)
  set_property(GLOBAL APPEND PROPERTY STERNA_TEXT_FILES ${STERNA_TEXTS}/${file})
endfunction()
# (a cross build can run the command only through an emulator)
if(NOT CMAKE_CROSSCOMPILING OR CMAKE_CROSSCOMPILING_EMULATOR)
  sterna_text(sterna.1 help --man)
  sterna_text(sterna.bash completion bash)
  sterna_text(_sterna completion zsh)
  sterna_text(sterna.fish completion fish)
  get_property(files GLOBAL PROPERTY STERNA_TEXT_FILES)
  add_custom_target(sterna_texts ALL DEPENDS ${files})
  install(FILES ${STERNA_TEXTS}/sterna.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${STERNA_TEXTS}/sterna.bash RENAME sterna DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${STERNA_TEXTS}/_sterna DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
  install(FILES ${STERNA_TEXTS}/sterna.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()

# ---- command, libraries, header ----
install(TARGETS sterna RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES ${PROJECT_SOURCE_DIR}/include/sterna.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

list(JOIN STERNA_PACKAGES " " STERNA_PACKAGE_WORDS) # for the two package files below

# ---- CMake package: sterna::sterna and, as a component, sterna::static ----
set(STERNA_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/sterna)
set_target_properties(sterna_shared PROPERTIES EXPORT_NAME sterna)
set_target_properties(sterna_static PROPERTIES EXPORT_NAME static)
install(TARGETS sterna_shared EXPORT sternaShared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS sterna_static EXPORT sternaStatic ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT sternaShared NAMESPACE sterna:: DESTINATION ${STERNA_PACKAGE_DIR})
install(EXPORT sternaStatic NAMESPACE sterna:: DESTINATION ${STERNA_PACKAGE_DIR})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/sternaConfig.cmake.in ${PROJECT_BINARY_DIR}/sternaConfig.cmake
                              INSTALL_DESTINATION ${STERNA_PACKAGE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/sternaConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/sternaConfig.cmake ${PROJECT_BINARY_DIR}/sternaConfigVersion.cmake
        DESTINATION ${STERNA_PACKAGE_DIR})

# ---- pkg-config; the prefix is found from the file's own place, so that the tree can be moved ----
file(RELATIVE_PATH STERNA_PREFIX_FROM_PKGCONFIG /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
string(REGEX REPLACE "/$" "" STERNA_PREFIX_FROM_PKGCONFIG "${STERNA_PREFIX_FROM_PKGCONFIG}")
list(TRANSFORM OpenMP_C_LIB_NAMES PREPEND "-l" OUTPUT_VARIABLE openmp_libs)
list(JOIN openmp_libs " " STERNA_OPENMP_LIBS)
configure_file(${PROJECT_SOURCE_DIR}/cmake/sterna.pc.in ${PROJECT_BINARY_DIR}/sterna.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/sterna.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
