// A CUDA driver library for tests. It stands before another one, the file that DEFERRED_CUDA_DRIVER names, and does as late as the
// documentation of cuda.h allows what a synchronous stand-in for a driver does at once: launches, copies and memsets are queued by stream, and
// run when the caller waits for them. Host memory is read when a copy is run, as page-locked memory is; until then the destination of a download
// holds 0xA5 (or, where an upload has yet to read from it, what it held). What the documentation forbids or does not promise, and a synchronous
// stand-in lets pass, is refused or ends the process with a message:
//   - calls without a current context, or with one that has been released; calls before cuInit;
//   - memory and modules given back while work that uses them is queued (cuMemFree only "may" wait for it);
//   - while a stream is recorded, calls of the same thread that wait, allocate or load: they end the recording (CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).
// At exit it appends how often the caller waited, and for how much, to the file that DEFERRED_CUDA_LOG names.
// It exports what bindings/generate-cuda.sh binds. Build: c++ -std=c++17 -shared -fPIC -o libdeferred_cuda.so deferred_cuda.cpp -ldl
#include <dlfcn.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace {

using Pointer = unsigned long long;
enum { SUCCESS = 0, INVALID_VALUE = 1, NOT_INITIALIZED = 3, INVALID_CONTEXT = 201, CONTEXT_IS_DESTROYED = 709, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901, ILLEGAL_STATE = 401 };
constexpr int MAX_DYNAMIC_SHARED = 8;  // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES

struct Work {
  std::function<int()> run;
  std::vector<Pointer> words;  // addresses among its arguments, in device memory or page-locked, and what may be one
  std::vector<void*> functions;
};
using Graph = std::vector<Work>;
struct Executable { std::shared_ptr<Graph> graph; };

struct Stream {
  std::deque<Work> queue;
  uint64_t asked = 0, done = 0;
  std::unique_ptr<Graph> recorded;
  bool broken = false;
  std::thread::id recorder;
};
struct Event { void* stream = nullptr; uint64_t upTo = 0; };

std::recursive_mutex lock;
std::map<void*, Stream> streams;
std::map<Pointer, size_t> allocations, pageLocked;
struct Function { void* module; std::vector<size_t> parameters; };
std::map<void*, Function> functions;
int fault = 0;  // of a kernel: the context answers nothing else from then on
bool initialized = false;
int retained = 0;
void* primary = nullptr;
thread_local void* current = nullptr;
unsigned long long waits = 0, emptyWaits = 0, launches = 0, graphLaunches = 0, uploads = 0, downloads = 0;

[[noreturn]] void wrong(const char* what) {
  fprintf(stderr, "deferred_cuda: %s\n", what);
  fflush(stderr);
  abort();
}

void report() {
  const char* path = getenv("DEFERRED_CUDA_LOG");
  FILE* log = path ? fopen(path, "a") : nullptr;
  if (!log) return;
  fprintf(log, "waits %llu, with nothing to wait for %llu, launches %llu, graph launches %llu, copies to the device %llu, from it %llu\n", waits, emptyWaits, launches, graphLaunches, uploads, downloads);
  fclose(log);
}

void* symbol(const char* name) {
  static void* library = [] {
    const char* path = getenv("DEFERRED_CUDA_DRIVER");
    if (!path) wrong("DEFERRED_CUDA_DRIVER must name the driver library that does the work");
    void* found = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!found) wrong(dlerror());
    atexit(report);
    return found;
  }();
  void* address = dlsym(library, name);
  if (!address) wrong(name);
  return address;
}

/** Runs what a stream was asked for, up to a number. */
void drain(Stream& s, uint64_t upTo) {
  while (s.done < upTo) {
    Work work = std::move(s.queue.front());
    s.queue.pop_front();
    s.done++;
    if (fault) continue;
    fault = work.run();
    // What the driver would have refused at the call is checked at the call: here only kernels can fail.
    if (fault && fault < 700) wrong("work was accepted at the call and refused when it was run");
  }
}

int await(Stream& s, uint64_t upTo) {
  (s.done < upTo ? waits : emptyWaits)++;
  drain(s, upTo);
  return fault;
}

bool anyQueued(const std::function<bool(const Work&)>& which) {
  for (auto& [handle, s] : streams)
    for (auto& work : s.queue)
      if (which(work)) return true;
  return false;
}

bool inUse(Pointer address, size_t bytes) {
  return anyQueued([=](const Work& work) {
    for (Pointer word : work.words)
      if (word >= address && word - address < bytes) return true;
    return false;
  });
}

/** Forgets an allocation; false if there is none at the address. */
bool forget(std::map<Pointer, size_t>& all, Pointer address, const char* what) {
  auto found = all.find(address);
  if (found == all.end()) return false;
  if (inUse(address, found->second)) wrong(what);
  all.erase(found);
  return true;
}

/** Nonzero: the reason why a call is not made now. */
int refuse(bool unsafeWhileRecording) {
  if (!initialized) return NOT_INITIALIZED;
  if (!current) return INVALID_CONTEXT;
  if (retained == 0) return CONTEXT_IS_DESTROYED;
  if (fault) return fault;
  int code = SUCCESS;
  for (auto& [handle, s] : streams)
    if (unsafeWhileRecording && s.recorded && s.recorder == std::this_thread::get_id()) {
      s.broken = true;
      code = CAPTURE_UNSUPPORTED;
    }
  return code;
}

int ask(void* stream, Work work) {
  auto found = streams.find(stream);
  if (found == streams.end()) wrong("work for a stream that does not exist");
  Stream& s = found->second;
  if (s.recorded) {
    s.recorded->push_back(std::move(work));
    return s.broken ? CAPTURE_INVALIDATED : SUCCESS;
  }
  s.queue.push_back(std::move(work));
  s.asked++;
  return SUCCESS;
}

/** Addresses are compared with the allocations at the call, as the driver does. */
bool onDevice(Pointer address, size_t bytes) {
  auto after = allocations.upper_bound(address);
  return after != allocations.begin() && address - std::prev(after)->first + bytes <= std::prev(after)->second;
}

}  // namespace

#define API extern "C" __attribute__((visibility("default"))) int
#define INNER(name, parameters) static auto inner = (int (*) parameters)symbol(#name)
#define ENTER(unsafeWhileRecording)                \
  std::lock_guard<std::recursive_mutex> held(lock); \
  if (int code = refuse(unsafeWhileRecording)) return code
/** A call that is passed on as it is: one that needs no context, one that does, and one that must not be made while a stream is recorded. */
#define PASS(name, parameters, arguments) API name parameters { INNER(name, parameters); return inner arguments; }
#define GUARDED(name, parameters, arguments, unsafeWhileRecording) \
  API name parameters {                                            \
    ENTER(unsafeWhileRecording);                                   \
    INNER(name, parameters);                                       \
    return inner arguments;                                        \
  }

PASS(cuGetErrorName, (int error, const char** text), (error, text))
PASS(cuGetErrorString, (int error, const char** text), (error, text))
PASS(cuDriverGetVersion, (int* version), (version))
PASS(cuDeviceGetCount, (int* count), (count))
PASS(cuDeviceGet, (int* device, int ordinal), (device, ordinal))
PASS(cuDeviceGetName, (char* name, int length, int device), (name, length, device))
PASS(cuDeviceTotalMem_v2, (size_t* bytes, int device), (bytes, device))
PASS(cuDeviceGetAttribute, (int* value, int attribute, int device), (value, attribute, device))
GUARDED(cuMemGetInfo_v2, (size_t* free, size_t* total), (free, total), false)
GUARDED(cuModuleLoadData, (void** module, const void* image), (module, image), true)
GUARDED(cuFuncGetAttribute, (int* value, int attribute, void* function), (value, attribute, function), false)
GUARDED(cuFuncSetAttribute, (void* function, int attribute, int value), (function, attribute, value), false)
GUARDED(cuFuncGetParamInfo, (void* function, size_t index, size_t* offset, size_t* size), (function, index, offset, size), false)

API cuInit(unsigned flags) {
  INNER(cuInit, (unsigned));
  initialized = true;
  return inner(flags);
}

// ---- contexts ----

API cuDevicePrimaryCtxRetain(void** context, int device) {
  std::lock_guard<std::recursive_mutex> held(lock);
  INNER(cuDevicePrimaryCtxRetain, (void**, int));
  retained++;
  int code = inner(context, device);
  primary = *context;
  return code;
}

API cuDevicePrimaryCtxRelease_v2(int device) {
  std::lock_guard<std::recursive_mutex> held(lock);
  INNER(cuDevicePrimaryCtxRelease_v2, (int));
  if (retained == 0) return INVALID_CONTEXT;
  if (--retained == 0) fault = 0;
  return inner(device);
}

API cuCtxSetCurrent(void* context) {
  INNER(cuCtxSetCurrent, (void*));
  if (context && context != primary) wrong("a context that does not exist is made current");
  current = context;
  int code = inner(context);
  return code ? code : fault;  // "may also return error codes from previous, asynchronous launches"
}

// ---- memory ----

API cuMemAlloc_v2(Pointer* address, size_t bytes) {
  ENTER(true);
  INNER(cuMemAlloc_v2, (Pointer*, size_t));
  int code = inner(address, bytes);
  if (code == 0) allocations[*address] = bytes;
  return code;
}

API cuMemFree_v2(Pointer address) {
  ENTER(true);
  INNER(cuMemFree_v2, (Pointer));
  if (!forget(allocations, address, "device memory is freed while work on it is queued")) return INVALID_VALUE;
  return inner(address);
}

API cuMemHostAlloc(void** p, size_t bytes, unsigned flags) {
  ENTER(true);
  INNER(cuMemHostAlloc, (void**, size_t, unsigned));
  int code = inner(p, bytes, flags);
  if (code == 0) pageLocked[(Pointer)*p] = bytes;
  return code;
}

API cuMemFreeHost(void* p) {
  ENTER(true);
  INNER(cuMemFreeHost, (void*));
  if (!forget(pageLocked, (Pointer)p, "page-locked memory is freed while copies of it are queued")) return INVALID_VALUE;
  return inner(p);
}

API cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, void* stream) {
  ENTER(false);
  INNER(cuMemcpyHtoDAsync_v2, (Pointer, const void*, size_t, void*));
  if (!onDevice(to, bytes)) return INVALID_VALUE;
  uploads++;
  return ask(stream, {[=] { return inner(to, from, bytes, stream); }, {to, (Pointer)from}, {}});
}

API cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, void* stream) {
  ENTER(false);
  INNER(cuMemcpyDtoHAsync_v2, (void*, Pointer, size_t, void*));
  if (!onDevice(from, bytes)) return INVALID_VALUE;
  downloads++;
  // An upload that is queued may still have to read from there.
  if (!inUse((Pointer)to, bytes)) memset(to, 0xA5, bytes);
  return ask(stream, {[=] { return inner(to, from, bytes, stream); }, {from, (Pointer)to}, {}});
}

API cuMemsetD8Async(Pointer to, unsigned char value, size_t bytes, void* stream) {
  ENTER(false);
  INNER(cuMemsetD8Async, (Pointer, unsigned char, size_t, void*));
  if (!onDevice(to, bytes)) return INVALID_VALUE;
  return ask(stream, {[=] { return inner(to, value, bytes, stream); }, {to}, {}});
}

// ---- modules and launches ----

API cuModuleGetFunction(void** function, void* module, const char* name) {
  ENTER(true);
  INNER(cuModuleGetFunction, (void**, void*, const char*));
  if (int code = inner(function, module, name)) return code;
  Function f{module, {}};
  size_t offset, size;
  while (cuFuncGetParamInfo(*function, f.parameters.size(), &offset, &size) == 0) f.parameters.push_back(size);
  functions[*function] = f;
  return SUCCESS;
}

API cuModuleUnload(void* module) {
  ENTER(true);
  INNER(cuModuleUnload, (void*));
  if (anyQueued([=](const Work& work) {
        for (void* function : work.functions)
          if (functions[function].module == module) return true;
        return false;
      })) wrong("a module is unloaded while launches of its kernels are queued");
  for (auto f = functions.begin(); f != functions.end();) f = f->second.module == module ? functions.erase(f) : std::next(f);
  return inner(module);
}

API cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz, unsigned shared, void* stream, void** values, void** extra) {
  ENTER(false);
  INNER(cuLaunchKernel, (void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**));
  int most;
  if (cuFuncGetAttribute(&most, MAX_DYNAMIC_SHARED, function) || shared > unsigned(most)) return INVALID_VALUE;
  auto found = functions.find(function);
  if (found == functions.end()) wrong("launch of a kernel that does not exist");
  std::vector<std::vector<char>> copies;
  std::vector<Pointer> words;
  for (size_t size : found->second.parameters) {
    const char* value = (const char*)values[copies.size()];
    copies.emplace_back(value, value + size);
    if (size == sizeof(Pointer)) memcpy(&words.emplace_back(), value, size);
  }
  launches++;
  return ask(stream, {[=]() mutable {
    std::vector<void*> pointers;
    for (auto& copy : copies) pointers.push_back(copy.data());
    return inner(function, x, y, z, bx, by, bz, shared, stream, pointers.data(), extra);
  }, words, {function}});
}

// ---- streams and events ----

API cuStreamCreate(void** stream, unsigned flags) {
  ENTER(false);
  INNER(cuStreamCreate, (void**, unsigned));
  int code = inner(stream, flags);
  if (code == 0) streams[*stream];
  return code;
}

API cuStreamDestroy_v2(void* stream) {
  std::lock_guard<std::recursive_mutex> held(lock);
  INNER(cuStreamDestroy_v2, (void*));
  auto found = streams.find(stream);
  if (found == streams.end()) wrong("a stream is destroyed that does not exist");
  drain(found->second, found->second.asked);
  streams.erase(found);
  return inner(stream);
}

API cuStreamSynchronize(void* stream) {
  ENTER(true);
  auto found = streams.find(stream);
  if (found == streams.end()) wrong("waiting for a stream that does not exist");
  return await(found->second, found->second.asked);
}

API cuEventCreate(void** event, unsigned) {
  ENTER(false);
  *event = new Event;
  return SUCCESS;
}

API cuEventDestroy_v2(void* event) {
  delete (Event*)event;
  return SUCCESS;
}

// In a recording an event would be a part of it: that is not known here.
API cuEventRecord(void* event, void* stream) {
  ENTER(true);
  *(Event*)event = {stream, streams.at(stream).asked};
  return SUCCESS;
}

API cuEventSynchronize(void* event) {
  ENTER(true);
  Event* e = (Event*)event;
  auto found = streams.find(e->stream);
  return found == streams.end() ? SUCCESS : await(found->second, e->upTo);
}

// ---- recorded work ----

API cuStreamBeginCapture_v2(void* stream, int mode) {
  ENTER(false);
  Stream& s = streams.at(stream);
  if (s.recorded) return ILLEGAL_STATE;
  if (mode != 1) wrong("only CU_STREAM_CAPTURE_MODE_THREAD_LOCAL is known here");
  s.recorded = std::make_unique<Graph>();
  s.recorder = std::this_thread::get_id();
  s.broken = false;
  return SUCCESS;
}

API cuStreamEndCapture(void* stream, void** graph) {
  std::lock_guard<std::recursive_mutex> held(lock);
  Stream& s = streams.at(stream);
  if (!s.recorded || s.recorder != std::this_thread::get_id()) return ILLEGAL_STATE;
  *graph = s.broken ? nullptr : s.recorded.release();
  s.recorded.reset();
  return s.broken ? int(CAPTURE_INVALIDATED) : refuse(false);
}

API cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long) {
  ENTER(true);
  *executable = new Executable{std::make_shared<Graph>(*(Graph*)graph)};
  return SUCCESS;
}

API cuGraphLaunch(void* executable, void* stream) {
  ENTER(false);
  graphLaunches++;
  auto graph = ((Executable*)executable)->graph;
  Work all;
  all.run = [=] {
    for (auto& work : *graph)
      if (int code = work.run()) return code;
    return 0;
  };
  for (auto& work : *graph) {
    all.words.insert(all.words.end(), work.words.begin(), work.words.end());
    all.functions.insert(all.functions.end(), work.functions.begin(), work.functions.end());
  }
  return ask(stream, all);
}

API cuGraphExecDestroy(void* executable) {
  delete (Executable*)executable;
  return SUCCESS;
}

API cuGraphDestroy(void* graph) {
  delete (Graph*)graph;
  return SUCCESS;
}
