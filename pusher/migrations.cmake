# Makes migrations.c from the SQL files: cmake -DFOLDER=… -DOUTPUT=… -P migrations.cmake
#
# As bytes, since a string literal has a limit of length.
file(GLOB files "${FOLDER}/[0-9][0-9][0-9]_*.sql")
list(SORT files)
set(arrays "")
set(rows "")
foreach(file IN LISTS files)
  get_filename_component(name "${file}" NAME)
  string(SUBSTRING "${name}" 0 3 number)
  string(REGEX REPLACE "^0+" "" plain_number "${number}")
  file(READ "${file}" bytes HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  string(REGEX REPLACE "(................................................................................)" "\\1\n"
    bytes "${bytes}")
  string(APPEND arrays "static const char SQL_${number}[] = {\n${bytes}\n0x00};\n\n")
  string(APPEND rows "    {.number = ${plain_number}, .name = \"${name}\", .sql = SQL_${number}},\n")
endforeach()
file(WRITE "${OUTPUT}" "#include \"pusher/migrate.h\"\n\n#include \"common/base/attributes.h\"\n\n${arrays}"
  "const struct migration MIGRATIONS[] = {\n${rows}};\nconst size_t MIGRATION_COUNT = ARRAY_LENGTH(MIGRATIONS);\n")
