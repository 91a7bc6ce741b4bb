// SPDX-License-Identifier: Apache-2.0
// Says all that is true of itself, then dies: the second thread writes to address 0x10 inside a dlopen'ed plug-in.
// usage: crash TRUTH-FILE; the working directory holds plug.so and alone.so
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static FILE *truth;
static void (*crash_here)(void);
__thread int thread_local_number;

// What the kernel says of this very fault, learnt in a child so that the dump's own words need not be believed.
static void on_fault(int number, siginfo_t *info, void *context) {
	(void)context;
	fprintf(truth, "fault %d %d %#lx\n", number, info->si_code, (unsigned long)info->si_addr);
	fflush(truth);
	_exit(0);
}

static void rehearse(void) {
	pid_t child = fork();
	if (child == 0) {
		struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
		sigaction(SIGSEGV, &action, NULL);
		crash_here();
		_exit(1);
	}
	waitpid(child, NULL, 0);
	fseek(truth, 0, SEEK_END);
}

static int on_object(struct dl_phdr_info *info, size_t size, void *data) {
	(void)size; (void)data;
	fprintf(truth, "object %#lx %s\n", (unsigned long)info->dlpi_addr, info->dlpi_name);
	return 0;
}

static void copy(const char *label, const char *path) {
	char line[4096];
	FILE *in = fopen(path, "r");
	while (in && fgets(line, sizeof line, in))
		fprintf(truth, "%s %s", label, line);
	if (in)
		fclose(in);
}

static void copy_auxv(void) {
	unsigned long pair[2];
	FILE *in = fopen("/proc/self/auxv", "rb");
	while (in && fread(pair, sizeof pair, 1, in) == 1)
		fprintf(truth, "auxv %lu %#lx\n", pair[0], pair[1]);
	if (in)
		fclose(in);
}

static void *second(void *ready) {
	thread_local_number = 4711;
	fprintf(truth, "crashing_tid %ld\n", syscall(SYS_gettid));
	pthread_barrier_wait(ready);
	pthread_barrier_wait(ready);
	crash_here();
	return NULL;
}

int main(int argc, char **argv) {
	pthread_attr_t attributes;
	pthread_barrier_t ready;
	pthread_t thread;
	struct utsname name;
	struct link_map *map;
	Dl_info info;

	if (argc < 2 || !(truth = fopen(argv[1], "a")))
		return 2;
	void *plug = dlopen("./plug.so", RTLD_NOW);
	void *alone = dlmopen(LM_ID_NEWLM, "./alone.so", RTLD_NOW);
	if (!plug || !alone) {
		fprintf(stderr, "dlopen: %s\n", dlerror());
		return 2;
	}
	crash_here = (void (*)(void))dlsym(plug, "crash_here");
	rehearse();
	pthread_barrier_init(&ready, NULL, 2);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 128 * 1024);
	if (pthread_create(&thread, &attributes, second, &ready))
		return 2;
	pthread_barrier_wait(&ready);

	uname(&name);
	fprintf(truth, "uname %s %s %s %s\n", name.sysname, name.release, name.version, name.machine);
	fprintf(truth, "pid %d\nuid %d\ngid %d\nexecfn %s\n", getpid(), getuid(), getgid(), (char *)getauxval(AT_EXECFN));
	for (int index = 0; index < argc; index++)
		fprintf(truth, "argument %s\n", argv[index]);
	copy("comm", "/proc/self/comm");
	dladdr((void *)crash_here, &info);
	fprintf(truth, "crashes_in %#lx %s %s\n", (unsigned long)info.dli_saddr, info.dli_sname, info.dli_fname);
	dl_iterate_phdr(on_object, NULL);
	dlinfo(alone, RTLD_DI_LINKMAP, &map);
	fprintf(truth, "namespace %#lx %s\n", (unsigned long)map->l_addr, map->l_name);
	copy_auxv();
	copy("maps", "/proc/self/maps");
	fclose(truth);
	pthread_barrier_wait(&ready);
	pthread_join(thread, NULL);
	return 3;
}
