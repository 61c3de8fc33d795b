/* Gives a fuzzing target the files that are named, without a fuzzer. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define LARGEST (size_t)(1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *name, uint8_t *bytes) {
  FILE *file = fopen(name, "rb");
  size_t size;
  if (file == NULL) {
    perror(name);
    return 0;
  }
  size = fread(bytes, 1, LARGEST, file);
  fclose(file);
  printf("%s: %zu bytes\n", name, size);
  fflush(stdout);
  LLVMFuzzerTestOneInput(bytes, size);
  return 1;
}

int main(int argc, char **argv) {
  uint8_t *bytes = malloc(LARGEST);
  int done = 0;
  for (int i = 1; i < argc && bytes != NULL; i++)
    done += replay(argv[i], bytes);
  free(bytes);
  return done == argc - 1 ? 0 : 1;
}
