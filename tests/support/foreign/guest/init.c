// SPDX-License-Identifier: Apache-2.0
// The first and only process of the guest: runs each program of /cases, lets it crash, and sends what is in /out over the
// console as base64 between marks, each file with its size and CRC-32, then switches the machine off.
//
// A case is a line "NAME FILTER DIRECTORY PROGRAM": FILTER is coredump_filter in hex. A NAME beginning with "tiny" says
// nothing of itself: it is held at its execve by ptrace and its /proc files are copied for it.
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <dirent.h>
#include <unistd.h>

#define USER 1234
#define GROUP 5678

static void put(const char *path, const char *text) {
	int fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		printf("cannot write %s: %m\n", path);
	close(fd);
}

static void send_file(const char *path, const char *name) {
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	struct stat status;
	FILE *in = fopen(path, "rb");
	if (!in || stat(path, &status))
		return;
	uint32_t crc = 0xFFFFFFFF;
	unsigned char raw[57];
	size_t count;
	printf("\n@@BEGIN %s %lld\n", name, (long long)status.st_size);
	while ((count = fread(raw, 1, sizeof raw, in)) > 0) {
		char line[80];
		int length = 0, zeros = 1;
		for (size_t i = 0; i < count; i++) {
			crc ^= raw[i];
			zeros = zeros && raw[i] == 0;
			for (int bit = 0; bit < 8; bit++)
				crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
		}
		if (zeros && count == sizeof raw) {
			printf("0\n");
			continue;
		}
		for (size_t i = 0; i < count; i += 3) {
			uint32_t three = raw[i] << 16 | (i + 1 < count ? raw[i + 1] : 0) << 8 | (i + 2 < count ? raw[i + 2] : 0);
			line[length++] = letters[three >> 18 & 63];
			line[length++] = letters[three >> 12 & 63];
			line[length++] = i + 1 < count ? letters[three >> 6 & 63] : '=';
			line[length++] = i + 2 < count ? letters[three & 63] : '=';
		}
		line[length] = 0;
		printf("%s\n", line);
	}
	printf("@@END %s %08x\n", name, ~crc);
	fflush(stdout);
	fclose(in);
}

static void copy(FILE *truth, const char *label, pid_t pid, const char *file) {
	char path[64], line[4096];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
	FILE *in = fopen(path, "r");
	while (in && fgets(line, sizeof line, in))
		fprintf(truth, "%s %s", label, line);
	if (in)
		fclose(in);
}

// /proc/PID/auxv has the guest program's word size, which need not be init's: bytes in hex.
static void copy_auxv(FILE *truth, pid_t pid) {
	char path[64];
	int byte;
	snprintf(path, sizeof path, "/proc/%d/auxv", pid);
	FILE *in = fopen(path, "rb");
	fprintf(truth, "auxv_bytes ");
	while (in && (byte = fgetc(in)) != EOF)
		fprintf(truth, "%02x", byte);
	fprintf(truth, "\n");
	if (in)
		fclose(in);
}

static void run(const char *name, const char *filter, const char *directory, const char *program) {
	char truth[128];
	int status = 0, tiny = strncmp(name, "tiny", 4) == 0;
	snprintf(truth, sizeof truth, "/out/%s.truth", name);
	FILE *out = fopen(truth, "w");
	fchmod(fileno(out), 0666);
	pid_t child = fork();
	if (child == 0) {
		char *arguments[] = { (char *)program, truth, "two words", NULL };
		char *environment[] = { "LC_ALL=C", NULL };
		put("/proc/self/coredump_filter", filter);
		if (chdir(directory) || setgroups(0, NULL) || setresgid(GROUP, GROUP, GROUP) || setresuid(USER, USER, USER))
			_exit(90);
		if (tiny)
			ptrace(PTRACE_TRACEME, 0, 0, 0);
		execve(program, arguments, environment);
		printf("cannot run %s: %m\n", program);
		_exit(91);
	}
	if (tiny && waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
		struct utsname host;
		uname(&host);
		fprintf(out, "uname %s %s %s %s\n", host.sysname, host.release, host.version, host.machine);
		fprintf(out, "pid %d\ncrashing_tid %d\nuid %d\ngid %d\nexecfn %s\n", child, child, USER, GROUP, program);
		fprintf(out, "argument %s\nargument %s\nargument two words\n", program, truth);
		copy(out, "comm", child, "comm");
		copy(out, "maps", child, "maps");
		copy_auxv(out, child);
		fflush(out);
		// The next stop is the fault itself, whose siginfo the kernel hands to the tracer.
		ptrace(PTRACE_CONT, child, 0, 0);
		waitpid(child, &status, 0);
		if (WIFSTOPPED(status)) {
			siginfo_t info;
			ptrace(PTRACE_GETSIGINFO, child, 0, &info);
			fprintf(out, "fault %d %d %#lx\n", info.si_signo, info.si_code, (unsigned long)info.si_addr);
			ptrace(PTRACE_DETACH, child, 0, WSTOPSIG(status));
		}
	}
	waitpid(child, &status, 0);
	fclose(out);
	out = fopen(truth, "a");
	if (WIFSIGNALED(status))
		fprintf(out, "died_of %d\ndumped %d\n", WTERMSIG(status), !!WCOREDUMP(status));
	else
		fprintf(out, "exited %d\n", WEXITSTATUS(status));
	fclose(out);
	send_file(truth, truth + strlen("/out/"));
	char made[128], sent[128];
	snprintf(made, sizeof made, "/out/core.%d", child);
	snprintf(sent, sizeof sent, "%s.core", name);
	send_file(made, sent);
}

int main(void) {
	struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
	char line[256], name[64], filter[16], directory[64], program[64];

	mount("proc", "/proc", "proc", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	int console = open("/dev/console", O_RDWR);
	if (console >= 0) {
		dup2(console, 0);
		dup2(console, 1);
		dup2(console, 2);
	}
	klogctl(8, NULL, 1);
	chmod("/out", 0777);
	setrlimit(RLIMIT_CORE, &none);
	put("/proc/sys/kernel/core_pattern", "/out/core.%p");
	put("/proc/sys/kernel/core_uses_pid", "0");
	printf("\n@@HELLO\n");
	FILE *cases = fopen("/cases", "r");
	while (cases && fgets(line, sizeof line, cases))
		if (sscanf(line, "%63s %15s %63s %63s", name, filter, directory, program) == 4)
			run(name, filter, directory, program);
	printf("\n@@DONE\n");
	fflush(stdout);
	sync();
	sleep(1);
	reboot(RB_POWER_OFF);
	reboot(RB_HALT_SYSTEM);
	return 0;
}
