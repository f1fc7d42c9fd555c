/* Classifies a picture with a packed network, without Python: classify NETWORK.safetensors PICTURE.ppm
 *
 * The picture is a binary PPM (P6, 8 bits) of any size. Its central square is sampled at the nearest pixels; xnorlit
 * classify, which resizes as training's validation does, sees a picture of exactly the network's size alike.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <xnorlit.h>

static unsigned char* read_all(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  unsigned char* bytes = NULL;
  if (file && fseek(file, 0, SEEK_END) == 0 && ftell(file) >= 0) {
    *size = (size_t)ftell(file);
    rewind(file);
    bytes = malloc(*size + 1);
    if (bytes && fread(bytes, 1, *size, file) != *size) free(bytes), bytes = NULL;
    if (bytes) bytes[*size] = 0;
  }
  if (file) fclose(file);
  if (!bytes) fprintf(stderr, "error: %s cannot be read\n", path);
  return bytes;
}

/* The number after blanks and comments, or -1. */
static long number(const unsigned char** at) {
  while (**at == ' ' || **at == '\t' || **at == '\r' || **at == '\n' || **at == '#') {
    if (**at == '#')
      while (**at && **at != '\n') ++*at;
    if (**at) ++*at;
  }
  long found = **at >= '0' && **at <= '9' ? 0 : -1;
  for (; **at >= '0' && **at <= '9' && found < 100000; ++*at) found = 10 * found + (**at - '0');
  return found;
}

/* A square image of `side` pixels from the picture's centre, or null. */
static unsigned char* sampled(const char* path, size_t side) {
  size_t size = 0;
  unsigned char *bytes = read_all(path, &size), *image = NULL;
  const unsigned char* at = bytes ? bytes + 2 : NULL;
  if (!bytes) return NULL;
  const int is_ppm = size > 2 && bytes[0] == 'P' && bytes[1] == '6';
  const long width = is_ppm ? number(&at) : -1, height = is_ppm ? number(&at) : -1, most = is_ppm ? number(&at) : -1;
  const size_t need = width > 0 && height > 0 ? 3 * (size_t)width * (size_t)height : 0;
  if (most == 255 && need && (size_t)(bytes + size - at) >= need + 1) image = malloc(side * side * 3);
  if (!image) fprintf(stderr, "error: %s is not a whole PPM of 8 bits (P6)\n", path);
  ++at; /* the one blank behind the header */
  const size_t square = (size_t)(width < height ? width : height);
  const size_t left = ((size_t)width - square) / 2, top = ((size_t)height - square) / 2;
  for (size_t i = 0; image && i < side * side; ++i) {
    const size_t y = top + (2 * (i / side) + 1) * square / (2 * side),
                 x = left + (2 * (i % side) + 1) * square / (2 * side);
    for (int c = 0; c < 3; ++c) image[3 * i + c] = at[3 * (y * (size_t)width + x) + c];
  }
  free(bytes);
  return image;
}

int main(int count, char** arguments) {
  if (count != 3) return fprintf(stderr, "usage: classify NETWORK.safetensors PICTURE.ppm\n"), 2;
  size_t size = 0;
  unsigned char* bytes = read_all(arguments[1], &size);
  if (!bytes) return 1;
  xnorlit_error error;
  xnorlit_network* network;
  if (xnorlit_load(bytes, size, NULL, &network, &error) != XNORLIT_OK)
    return fprintf(stderr, "error: %s: %s\n", arguments[1], error.message), 1;
  free(bytes);
  const size_t classes = xnorlit_class_count(network);
  unsigned char* pixels = sampled(arguments[2], xnorlit_image_size(network));
  float* logits = malloc(classes * sizeof *logits);
  if (!pixels || !logits) return 1;
  if (xnorlit_run(network, pixels, xnorlit_pixel_count(network), logits, classes, &error) != XNORLIT_OK)
    return fprintf(stderr, "error: %s\n", error.message), 1;
  double sum = 0;
  float largest = logits[0];
  for (size_t i = 0; i < classes; ++i) largest = logits[i] > largest ? logits[i] : largest;
  for (size_t i = 0; i < classes; ++i) sum += exp((double)logits[i] - largest);
  for (int rank = 0; rank < 5 && (size_t)rank < classes; ++rank) {
    size_t best = 0; /* the first of equal ones */
    for (size_t i = 1; i < classes; ++i) best = logits[i] > logits[best] ? i : best;
    printf("%-24s %5.1f %%  %.9g\n", xnorlit_class_name(network, best), 100 * exp((double)logits[best] - largest) / sum,
           (double)logits[best]);
    logits[best] = -INFINITY;
  }
  free(pixels), free(logits), xnorlit_free(network);
  return 0;
}
