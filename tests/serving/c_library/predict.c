/* Loads a SavedModel and runs one signature by TensorFlow's C library, without any Python.
 *
 *   predict FOLDER [INPUT KIND VALUES]... -- [OUTPUT]...
 *
 * INPUT and OUTPUT are names of tensors in the graph, such as serving_default_x:0. KIND is f
 * (float32) or i (int32), then the number of sizes, the sizes, and the values:
 *   serving_default_x:0 f 2 1 3 0.5 1 2
 * Each output is printed on a line of its own, as float32 values.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

enum { MOST = 16 };

static void stop(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static void check(TF_Status *status, const char *what) {
  if (TF_GetCode(status) != TF_OK) stop(what, TF_Message(status));
}

static TF_Output find(TF_Graph *graph, const char *name) {
  char operation[256];
  const char *colon = strrchr(name, ':');
  if (colon == NULL || (size_t)(colon - name) >= sizeof operation) stop(name, "is no tensor");
  memcpy(operation, name, (size_t)(colon - name));
  operation[colon - name] = '\0';
  TF_Output output = {TF_GraphOperationByName(graph, operation), atoi(colon + 1)};
  if (output.oper == NULL) stop(name, "is not in the graph");
  return output;
}

static const char *next(int *at, int count, char **words) {
  if (*at >= count) stop("arguments", "end too soon");
  return words[(*at)++];
}

static TF_Tensor *read_tensor(int *at, int count, char **words) {
  TF_DataType kind = *next(at, count, words) == 'f' ? TF_FLOAT : TF_INT32;
  int64_t sizes[8];
  int axes = atoi(next(at, count, words));
  if (axes < 0 || axes > 8) stop("arguments", "too many axes");
  size_t values = 1;
  for (int i = 0; i < axes; ++i) {
    sizes[i] = atoll(next(at, count, words));
    values *= (size_t)sizes[i];
  }
  TF_Tensor *tensor = TF_AllocateTensor(kind, sizes, axes, 4 * values);
  for (size_t i = 0; i < values; ++i) {
    double value = atof(next(at, count, words));
    if (kind == TF_FLOAT) ((float *)TF_TensorData(tensor))[i] = (float)value;
    else ((int32_t *)TF_TensorData(tensor))[i] = (int32_t)value;
  }
  return tensor;
}

static void print_tensor(const TF_Tensor *tensor) {
  if (TF_TensorType(tensor) != TF_FLOAT) stop("output", "is not float32");
  const float *values = TF_TensorData(tensor);
  size_t count = TF_TensorByteSize(tensor) / sizeof *values;
  for (size_t i = 0; i < count; ++i) printf(i ? " %.9g" : "%.9g", (double)values[i]);
  printf("\n");
}

int main(int count, char **words) {
  if (count < 2) stop(words[0], "expected the folder of a SavedModel");
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  TF_Session *session =
      TF_LoadSessionFromSavedModel(options, NULL, words[1], tags, 1, graph, NULL, status);
  check(status, words[1]);

  TF_Output inputs[MOST], outputs[MOST];
  TF_Tensor *given[MOST], *answers[MOST] = {NULL};
  int takes = 0, gives = 0, at = 2;
  while (at < count && strcmp(words[at], "--") != 0 && takes < MOST) {
    inputs[takes] = find(graph, next(&at, count, words));
    given[takes++] = read_tensor(&at, count, words);
  }
  for (++at; at < count && gives < MOST; ++at) outputs[gives++] = find(graph, words[at]);
  TF_SessionRun(session, NULL, inputs, given, takes, outputs, answers, gives, NULL, 0, NULL,
                status);
  check(status, "run");
  for (int i = 0; i < gives; ++i) {
    print_tensor(answers[i]);
    TF_DeleteTensor(answers[i]);
  }
  for (int i = 0; i < takes; ++i) TF_DeleteTensor(given[i]);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
