// temporary
int main() {}
